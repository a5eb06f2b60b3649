r"""math: formulas compared by the package math-verify (an extra): \boxed{…}, else the last formula or number of the text.

math-verify parses LaTeX with its own grammar and compares with sympy: sets, intervals, equations, rounding. It is slow (milliseconds
to seconds a text), and a comparison that does not end is a time-out of its own, not a wrong answer.
"""

from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.graders import Problem, Reading


def math(text: str, problem: Problem, *, decimals: int = 6) -> Reading:
    """The formula in `text`, as LaTeX; well-formed if it is boxed.

    Args:
        text: a solution, or the right answer.
        problem: not used.
        decimals: to which two numbers must agree.
    """
    parsed = _parsed(text)
    if not parsed:
        return Reading(None)
    return Reading(str(parsed[-1]), "\\boxed" in text)


def equal(value: str, answer: str, *, decimals: int = 6) -> bool:
    """Whether two formulas are equal."""
    from math_verify import verify

    return value == answer or bool(
        verify(_parsed(answer), _parsed(value), float_rounding=decimals, timeout_seconds=None)
    )


def _parsed(text: str) -> list[Any]:
    try:
        from math_verify import parse
    except ImportError as error:
        raise UserError(
            'the grader math needs the package math-verify: pip install "math-verify[antlr4_13_2]"; grader=boxed needs no package'
        ) from error
    read: list[Any] = parse(text, parsing_timeout=None)
    return read or parse(f"${text}$", parsing_timeout=None)
