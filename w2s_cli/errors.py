"""Errors that a user can act on.

* `UserError` is the only error the command line prints without a traceback; its text says what is wrong, where, and what to do.
* Anything else that escapes is a bug, and is shown as one.
"""

import difflib
import traceback
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Wrong input, configuration, or state of the outputs folder; the command exits with code 2."""


def did_you_mean(word: str, known: Iterable[str], *, shown: int = 12) -> str:
    """' Did you mean "lr"? Known: …' for a misspelt `word`; the list of names is cut after `shown`."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    listed = ", ".join(names[:shown]) + (f", … ({len(names)} in all)" if len(names) > shown else "")
    return f"{hint} Known: {listed}." if names else hint


def need_one_of(value: str, known: Sequence[str], what: str) -> None:
    """Refuse an option that is not one of `known`."""
    if value not in known:
        raise UserError(f'{what}="{value}" is unknown.{did_you_mean(str(value), known)}')


def of_user_code(what: str, error: Exception) -> UserError:
    """The error that a loss, rule or transform of the user's own raised, with the line where it did."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return UserError(f"{what} failed: {type(error).__name__}: {error}{where}")
