"""Graders read the answer in a text and compare it with the right one. One file each, with one public function of the file's name.

    def number(text, problem, *, …) -> Reading

* `text` is what a model wrote, or the right answer of a recipe (data.answer), which is read by the same rule unless the file says
  otherwise. `problem` is what the model was asked. The keyword arguments are the `args` of `configs/grader/<name>.yaml`.
* The value of a reading is in one spelling ("26" for "26.00"), so that answers can be counted and compared as texts: majorities and the
  agreement of two models need no further rule. None: the text has no answer, which is never right and agrees with nothing.
* A file may define `equal(value, answer, *, …)` for answers that have no one spelling, such as formulas, and `answer(text, problem, *, …)`
  for right answers that are written otherwise than in a completion, such as a formula without its box. Both have the same arguments.
* A reading that takes longer than `SECONDS`, or raises, is an outcome of its own, never "wrong". Of a right answer it stops the stage.
* To add a grader, put `graders/<name>.py` into the package or into a `--config-dir` folder. No list has to be edited.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from w2s_cli.errors import UserError, excerpt, of_user_code
from w2s_cli.plugins import function_of, load_code

GRADERS = "graders"  # the folder of the code
SECONDS = 10.0  # of one text
AGAIN = 1.0  # seconds until the limit is said again to code that went on: a bare `except`, a destructor

Outcome = Literal["right", "wrong", "no answer", "time-out", "error"]


class UnreadableAnswerError(UserError):
    """A right answer without anything to read: no model could be right there."""


class Problem(NamedTuple):
    """What the model was asked."""

    prompt: str
    answer: str


class Reading(NamedTuple):
    """The answer in a text."""

    value: str | None  # in one spelling; None: no answer
    well_formed: bool = True  # the answer stands where, and as, the task asks for it


class Grade(NamedTuple):
    """A text compared with the right answer."""

    value: str | None
    outcome: Outcome
    well_formed: bool


class Grader(NamedTuple):
    """A rule with its arguments."""

    read: Callable[[str, Problem], Reading]
    read_answer: Callable[[str, Problem], Reading]
    equal: Callable[[str, str], bool]
    name: str

    def answer(self, problem: Problem) -> str:
        """The right answer in the spelling of readings.

        Raises:
            UserError: the rule finds no answer in it, fails, or takes too long.
        """
        which = f'"{excerpt(problem.answer)}", the right answer to "{excerpt(problem.prompt)}"'
        try:
            with time_limit(SECONDS):
                value = self.read_answer(problem.answer, problem).value
        except TimeLimitError:
            raise UserError(
                f"the grader {self.name} takes more than {SECONDS:g} seconds to read {which}: choose another grader (grader=…)"
            ) from None
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise of_user_code(f"the grader {self.name}, reading {which},", error) from error
        if value is None:
            raise UnreadableAnswerError(
                f"the grader {self.name} reads no answer in {which}: choose another grader (grader=…), or correct data.answer"
            )
        return value

    def answers(self, problems: Mapping[str, Problem]) -> dict[str, str]:
        """Row id → the right answer in the spelling of readings.

        Raises:
            UserError: as `answer`; of answers without anything to read with their number and the first such row.
        """
        read: dict[str, str] = {}
        unread = []
        for row, problem in problems.items():
            try:
                read[row] = self.answer(problem)
            except UnreadableAnswerError:
                unread.append(row)
        if unread:
            first = problems[unread[0]]
            raise UnreadableAnswerError(
                f"the grader {self.name} reads no answer in {len(unread):,} of {len(problems):,} right answers (data.answer), first in "
                f'row {unread[0]}: "{excerpt(first.answer)}" to "{excerpt(first.prompt)}". Correct or remove such rows, or choose another '
                "grader (grader=…)"
            )
        return read

    def grade(self, text: str, problem: Problem, answer: str) -> Grade:
        """`text` compared with `answer`, the result of `answer(problem)`."""
        try:
            with time_limit(SECONDS):
                reading = self.read(text, problem)
                if reading.value is None:
                    return Grade(None, "no answer", False)
                return Grade(
                    reading.value, "right" if self.equal(reading.value, answer) else "wrong", reading.well_formed
                )
        except TimeLimitError:
            return Grade(None, "time-out", False)
        except UserError:
            raise  # a missing package, a row without what the rule reads: no text of a model is to blame
        except (Exception, SystemExit):  # a grader meets anything that a model may write
            return Grade(None, "error", False)


def load_grader(rule: Mapping[str, Any], folders: Sequence[Path | str] = ()) -> Grader:
    """The grader of a stage's params: {name, args, code (its hash in the plan)}.

    Raises:
        UserError: no grader of that name, other code than planned, or an argument that it does not have.
    """
    name, args = str(rule["name"]), dict(rule["args"])
    module, path = load_code(GRADERS, name, folders, planned=rule.get("code"))
    function = function_of(module, path, "text, problem, *, …")
    equal = getattr(module, "equal", None)

    def reader(rule: Callable[..., Any]) -> Callable[[str, Problem], Reading]:
        def read(text: str, problem: Problem) -> Reading:
            result = rule(text, problem, **args)
            if not isinstance(result, Reading):
                raise of_user_code(str(path), TypeError(f"{name} returns {type(result).__name__}, not a Reading"))
            if not isinstance(result.value, str | None):
                kind = type(result.value).__name__
                raise of_user_code(str(path), TypeError(f"{name} returns a Reading of type {kind}, not a text or None"))
            return result if result.value else Reading(None, False)  # an empty answer is none

        return read

    return Grader(
        reader(function),
        reader(getattr(module, "answer", function)),
        (lambda value, answer: bool(equal(value, answer, **args))) if equal else _same,
        name,
    )


def _same(value: str, answer: str) -> bool:
    return value == answer


class TimeLimitError(BaseException):
    """A grader took too long. No `Exception`, so that a grader's (or a library's) `except Exception` does not swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` inside the block after `seconds`; only in the main thread, the one that signals reach."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(*_: object) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
