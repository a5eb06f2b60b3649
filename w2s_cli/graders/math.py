r"""math: formulas compared by the package math-verify (an extra): \boxed{…}, else the last formula or number of the text.

* math-verify parses LaTeX with its own grammar and compares with sympy: sets, intervals, equations, rounding. It is slow (milliseconds to
  seconds a text), and a comparison that does not end is a time-out of its own, not a wrong answer.
* Of several boxes the last one counts; math-verify itself takes all of them as one set.
* The value of a reading is LaTeX in the spelling of the grader boxed, so that majorities count 1/2 and 0.5 as one answer. Formulas
  that are equal in other ways (x+1 and 1+x) are equal in grading only.
"""

import logging
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.graders import Problem, Reading
from w2s_cli.graders.boxed import boxes, spelled


def math(text: str, problem: Problem, *, decimals: int = 6) -> Reading:
    """The formula in `text`, as LaTeX; well-formed if it is boxed.

    Args:
        text: a solution.
        problem: not used.
        decimals: to which two numbers must agree.
    """
    if contents := boxes(text):
        return Reading(spelled(contents[-1]))
    parsed = _parsed(text)
    return Reading(spelled(str(parsed[-1])) if parsed else None, False)


def answer(text: str, problem: Problem, *, decimals: int = 6) -> Reading:
    """The right answer: the box or the last formula of a solution, or a formula without dollar signs."""
    reading = math(text, problem, decimals=decimals)
    return reading if reading.value is not None or not _parsed(f"${text}$") else Reading(spelled(text))


def equal(value: str, answer: str, *, decimals: int = 6) -> bool:
    """Whether two formulas are equal."""
    from math_verify import verify

    formulas = [_parsed(f"${one}$") for one in (answer, value)]
    return value == answer or bool(verify(*formulas, float_rounding=decimals, timeout_seconds=None))


def _parsed(text: str) -> list[Any]:
    try:
        from math_verify import parse
    except ImportError as error:
        raise UserError(
            'the grader math needs the package math-verify: pip install "math-verify[antlr4_9_3]"; grader=boxed needs no package'
        ) from error
    # it warns that it has no time limit; `graders.time_limit` is one
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    formulas: list[Any] = parse(text, parsing_timeout=None)  # `graders.time_limit` ends it
    return formulas
