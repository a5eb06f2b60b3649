"""`w2s`: the table of commands, and what happens to errors.

* A command is a function `(argv) -> exit code`, imported only when it is called, so that `w2s ls` does not pay for Hydra and `w2s plan`
  does not pay for torch.
* Exit codes: 0 done, 1 a stage failed, 2 the user's error, 75 interrupted (run the same command to continue).
* A traceback is shown only with --debug.
"""

import importlib
import os
import shlex
import sys

from w2s_cli.errors import UserError, did_you_mean

COMMANDS = {
    "train": ("train:train", "run the whole pipeline to PGR: weak supervisor, weak labels, strong student, ceiling"),
    "label": ("train:label", "run up to the weak labels"),
    "evaluate": ("train:evaluate", "compute PGR from finished stages; never trains"),
    "pretrain": ("train:pretrain", "pretrain a language model from scratch (configs/pretrain/)"),
    "plan": ("train:plan", "show the stages of a run, their keys and states; runs nothing"),
    "status": ("status:run", "the latest run: what is done, running, left"),
    "ls": ("ls:run", "list stages"),
    "show": ("show:run", "one stage: identity, inputs, metrics, provenance"),
    "logs": ("logs:run", "the log of a stage; -f follows it"),
    "why": ("why:run", "where a result comes from, or why it would be made again"),
    "table": ("table:run", "stored results as a table: text, Markdown, CSV, LaTeX, parquet; paired tests"),
    "diff": ("diff:run", "what differs between two runs or stages: config, data, code, results"),
    "plot": (
        "plot:run",
        "the figures of a run or sweep: accuracy, scaling, data sets, agreement, calibration, curves, theory",
    ),
    "report": ("report:run", "a run or sweep as one HTML page: result, figures, plan, logs, configuration, provenance"),
    "data": ("data_check:run", "`w2s data check`: sizes, base rates, duplicates, truncation, shortcuts"),
    "reproduce": ("reproduce:run", "a published experiment: plan, cost, run, and a table beside the reported figures"),
    "rm": ("rm:run", "remove stages"),
    "gc": ("gc:run", "find and remove what no run needs; dry by default"),
    "doctor": ("doctor:run", "versions, devices, disk, locks, hub, cached models; --verify hashes every artifact"),
    "completion": ("completion:run", 'print the shell completion script: eval "$(w2s completion bash)"'),
}


def main() -> None:
    """Console script."""
    sys.exit(dispatch(sys.argv[1:]))


def dispatch(argv: list[str]) -> int:
    """Run one command line; returns the exit code."""
    os.environ["W2S_COMMAND"] = shlex.join(["w2s", *argv])  # the workers record it
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    try:
        return _call(argv)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 75
    except BrokenPipeError:  # `w2s ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from w2s_cli.store.store import StoreError

        if debug:
            raise
        if isinstance(error, UserError | StoreError):
            print(f"w2s: {error}", file=sys.stderr)
            return 2
        print(
            f"w2s: {type(error).__name__}: {error}\nThis is a bug in w2s, or something it did not foresee: --debug shows where.",
            file=sys.stderr,
        )
        return 1


def _call(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        from w2s_cli.commands.help import show_help

        return show_help(COMMANDS)
    if argv[0] in ("--version", "-V"):
        from w2s_cli import __version__

        print(f"w2s {__version__}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        raise UserError(f'unknown command "{name}".{did_you_mean(name, COMMANDS, shown=20)}')
    if rest and rest[0] in ("-h", "--help"):
        from w2s_cli.commands.help import show_command_help

        return show_command_help(name, COMMANDS)
    module, function = COMMANDS[name][0].split(":")
    code: int = getattr(importlib.import_module(f"w2s_cli.commands.{module}"), function)(rest)
    return code
