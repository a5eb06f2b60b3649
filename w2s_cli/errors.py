"""Errors that a user can act on.

* The command line prints the text of a `UserError` and exits with code 2. The text says what is wrong, where, and what to do.
* Any other error but a `StoreError` is a bug: the command line prints its type and text, and with --debug its traceback.
"""

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST_WORD = 300  # characters of a name, path or word in a message
EXCERPT = 60  # characters of a text in a message


class UserError(Exception):
    """Wrong input, configuration, or state of the outputs folder; the command exits with code 2."""


def did_you_mean(word: str, choices: Iterable[str], *, at_most: int = 12) -> str:
    """' Did you mean "lr"? Known: …' for a misspelt or spelt-out `word`; the list of choices is cut after `at_most` names."""
    names = sorted(choices)
    initials = "".join(part[:1] for part in word.split("_"))  # learning_rate → lr
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6) or [
        name for name in names if name == initials != word
    ]
    hint = f' Did you mean "{close[0]}"?' if close else ""
    listed = ", ".join(names[:at_most]) + (f", … ({len(names)} in all)" if len(names) > at_most else "")
    return f"{hint} Known: {listed}." if names else hint


def of_system(error: Exception) -> str | None:
    """The message for an error of the operating system, or of a Python file that cannot be parsed; None for any other error."""
    if isinstance(error, SyntaxError) and error.filename and Path(__file__).parent not in Path(error.filename).parents:
        line = f", line {error.lineno}" if error.lineno else ""
        return f"{error.filename}{line}: {error.msg}."
    if not isinstance(error, OSError):
        return None
    if error.filename is not None:
        return f"{error.filename}: {error.strerror or error}."
    if error.errno == errno.ENOENT:  # os.getcwd
        return "the working directory no longer exists: change to another one."
    return f"{error.strerror or error}."


def brief(message: str) -> str:
    """A message whose names, paths and words are cut after LONGEST_WORD characters: they may be of any length."""
    return re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1…", message)


def excerpt(text: str) -> str:
    """The beginning of a text as one line of at most EXCERPT characters, to quote it in a message."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"


def need_one_of(value: str, choices: Sequence[str], option: str) -> None:
    """Refuse a `value` of `option` that is not one of `choices`."""
    if value not in choices:
        raise UserError(f'{option}="{value}" is unknown.{did_you_mean(str(value), choices)}')


def of_user_code(called: str, error: BaseException, file: str | None = None) -> UserError:
    """The message for an error inside a loss, rule or transform, with the file and line.

    Args:
        called: the code's name.
        file: the code's file; the line is the last one in it, else the last of all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({error.filename}, line {error.lineno})"
        error = SyntaxError(error.msg)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UserError(f"{called} failed: {text}{where}")
