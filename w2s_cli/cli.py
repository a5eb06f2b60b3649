"""`w2s`: the call of one command; errors become messages and exit codes.

* A command is a function `(argv) -> exit code`, imported only when it is called, so that `w2s ls` does not load Hydra and `w2s plan` does
  not load torch.
* Exit codes: 0 done, 1 a stage failed or the output cannot be written, 2 the user's error or a file that cannot be read or written, 75
  interrupted (run the same command to continue).
* A traceback is shown only with --debug.
"""

import importlib
import os
import shlex
import sys

from w2s_cli.commands import COMMANDS
from w2s_cli.commands.output import OutputLost, guarded, open_closed, write_any_text
from w2s_cli.errors import UserError, brief, did_you_mean, of_system


def main() -> None:
    """The console script."""
    open_closed()
    write_any_text()
    sys.exit(dispatch(sys.argv[1:]))


def dispatch(argv: list[str]) -> int:
    """Run one command line; returns the exit code."""
    os.environ["W2S_COMMAND"] = shlex.join(["w2s", *argv])  # the workers record it
    debug = "--debug" in argv
    with guarded(needed=True):
        return _outcome([word for word in argv if word != "--debug"], debug=debug)


def _outcome(argv: list[str], *, debug: bool) -> int:
    """Call the command; errors become messages. Returns the exit code."""
    try:
        code = _call(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 75
    except OutputLost as lost:
        if isinstance(lost.__cause__, BrokenPipeError):  # `w2s ls | head`
            return 0
        print(f"w2s: standard output cannot be written: {lost}.", file=sys.stderr)
        return 1
    except Exception as error:
        from w2s_cli.store.places import StoreError

        if debug:
            raise
        if isinstance(error, UserError | StoreError):
            print(f"w2s: {brief(str(error))}", file=sys.stderr)
            return 2
        if message := of_system(error):
            print(f"w2s: {brief(message)}", file=sys.stderr)
            return 2
        print(
            f"w2s: {type(error).__name__}: {error}\nThis is a bug in w2s, or an error "
            "that it does not handle: --debug shows the traceback.",
            file=sys.stderr,
        )
        return 1


def _call(argv: list[str]) -> int:
    _refuse_bytes(argv)
    if argv[:1] in (["-h"], ["--help"], ["help"]) and argv[1:2] and argv[1] in COMMANDS:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        from w2s_cli.commands.help import show_help

        return show_help(COMMANDS)
    if argv[0] in ("--version", "-V"):
        from w2s_cli import __version__

        print(f"w2s {__version__}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        if "=" in name:
            raise UserError(f'"{name}" is no command: a line begins with one, for example w2s train {name}')
        raise UserError(f'unknown command "{name}".{did_you_mean(name, COMMANDS, at_most=len(COMMANDS))}')
    if "-h" in rest or "--help" in rest:
        from w2s_cli.commands.help import show_command_help

        return show_command_help(name, COMMANDS)
    module, function = COMMANDS[name].call.split(":")
    code: int = getattr(importlib.import_module(f"w2s_cli.commands.{module}"), function)(rest)
    return code


def _refuse_bytes(argv: list[str]) -> None:
    """Refuse a word that is no text: a record could not hold it."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f'"{word}" is not UTF-8: write it in UTF-8, and rename a file or folder of that name.'
            ) from error
