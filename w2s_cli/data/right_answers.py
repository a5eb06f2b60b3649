"""The right answers of a data set, read by the rule that will compare texts with them: no model can be right where it reads none."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.errors import UserError
from w2s_cli.graders import Problem, UnreadableAnswerError, load_grader


class Unread(NamedTuple):
    """What a grader finds in the right answers of a data set."""

    problems: Sequence[str] = ()  # reasons to doubt results
    notes: Sequence[str] = ()  # why the answers were not read


def unread(rows: Iterable[tuple[str, str, str]], rule: Mapping[str, Any], folders: Sequence[Path]) -> Unread:
    """The right answers in which the grader reads none.

    Args:
        rows: id, prompt and answer of each.
        rule: the grader, {name, args}.
        folders: with graders of the user's own.
    """
    try:
        load_grader(rule, folders).answers({row: Problem(prompt, answer) for row, prompt, answer in rows})
    except UnreadableAnswerError as error:
        return Unread([str(error)])
    except UserError as error:
        return Unread(notes=[f"the right answers were not read: {error}"])
    return Unread()
