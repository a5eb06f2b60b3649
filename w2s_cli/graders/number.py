"""number: the number after the last mark of an answer ("#### 18", "A: 18", "The answer is 18"), else the last number of the text.

GSM8K ends its solutions with "####" (Cobbe et al. 2021), their model solutions end with a line "A:", and chain-of-thought prompts with
"The answer is" (Wei et al. 2022). Without a mark the last number counts, as in the code of proxy-tuning (Liu et al. 2024).
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from w2s_cli.graders import Problem, Reading

MARK = re.compile(r"####|^\s*A:|(?:final )?answer is:?", re.IGNORECASE | re.MULTILINE)
# "$1,234.50", "-7", ".5", a clock's "6:25"; a comma belongs to the number only before three digits
NUMBER = re.compile(r"\d+:\d\d|-?\$?\s?-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|-?\$?\.\d+")
RATIO = re.compile(r"\s*/\s*(\d+)")


def number(
    text: str,
    problem: Problem,
    *,
    compare: Literal["value", "text"] = "value",
    marks: bool = True,
    signed: bool = True,
) -> Reading:
    """The number in `text`; well-formed if it follows a mark.

    Args:
        text: a solution, or the right answer.
        problem: not used.
        compare: by value, where 26.00 is 26 (the default), or as text, for published exact-match figures.
        marks: False: always the last number, for published figures.
        signed: False: −3 is 3, for published figures (exact match that ignores punctuation).
    """
    places = list(MARK.finditer(text)) if marks else []
    if not places:
        numbers = NUMBER.findall(text)
        return Reading(_spelled(numbers[-1], compare, signed) if numbers else None, not marks)
    line = text[places[-1].end() :].lstrip(" :").partition("\n")[0]
    first = NUMBER.search(line)
    if first is None:
        return Reading(None)
    below = RATIO.match(line, first.end())
    if below and compare == "value" and ":" not in first[0] and int(below[1]):
        return Reading(_value(Fraction(_plain(first[0])) / int(below[1]), signed))
    return Reading(_spelled(first[0], compare, signed))


def _spelled(written: str, compare: str, signed: bool) -> str:
    plain = _plain(written)
    if compare == "text" or ":" in plain:
        return plain if signed else plain.lstrip("-")
    return _value(Fraction(plain), signed)


def _plain(written: str) -> str:
    return re.sub(r"[,$\s]", "", written).replace("--", "-")


def _value(number: Fraction, signed: bool) -> str:
    """ "0.5" for 1/2, "1/3" for a number that no decimal ends."""
    size = number if signed else abs(number)
    rest = size.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest > 1:
        return str(size)
    decimal = Decimal(size.numerator) / Decimal(size.denominator)
    return f"{decimal.normalize():f}" if size else "0"
