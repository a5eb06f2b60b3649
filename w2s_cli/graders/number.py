"""number: the number after the last mark of an answer ("#### 18", "A: 18", "The answer is 18"), else the last number of the text.

* GSM8K ends its solutions with "####" (Cobbe et al. 2021), their model solutions end with a line "A:", and chain-of-thought prompts with
  "The answer is" (Wei et al. 2022). Without a mark the last number counts, as in the code of proxy-tuning (Liu et al. 2024).
* A minus sign belongs to a number that it touches, unless something to subtract from stands before it: 3 in "10 - 3" and in "10-3".
* By value, 26.00 is 26 and 1/2 is 0.5. A clock ("6:25") is no number: it is compared as text.
"""

import re
from fractions import Fraction
from typing import Literal

from w2s_cli.graders import Problem, Reading

MARK = re.compile(r"####|^\s*A:|(?:final )?answer is:?|final answer:", re.IGNORECASE | re.MULTILINE)
BETWEEN = "* \t\n:"  # characters between a mark and its answer: "The answer is:\n**18**"
MINUS = r"(?:(?<![\w)\]}%])[-−])?"
COIN = r"(?:\\?[$€£]\s?-?)?"
SIZE = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+"  # a comma belongs to it only before three digits
NUMBER = rf"\d+:\d\d|{MINUS}{COIN}(?:{SIZE})"  # "$1,234.50", "-7", ".5", a clock's "6:25"
ALONE = re.compile(rf"(?P<number>{NUMBER})")
# "7 1/2", "1/2": the number alone where something else follows
RATIO = re.compile(rf"(?P<number>{NUMBER})(?:(?:[ \t]+(?P<over>\d+)/|[ \t]*/[ \t]*)(?P<under>\d+)(?![\d.,]*\d))?")
MOST_DIGITS = 1000  # of a value; longer ones, of a model that repeats itself, are compared as texts


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
    part = text[places[-1].end() :].lstrip(BETWEEN).partition("\n")[0] if places else text
    numbers = list((RATIO if compare == "value" else ALONE).finditer(part))
    if not numbers:
        return Reading(None, False)
    parts = numbers[0 if places else -1].groupdict()
    return Reading(_spelled(parts, compare, signed), bool(places) or not marks)


def _spelled(parts: dict[str, str | None], compare: str, signed: bool) -> str:
    plain = re.sub(r"[,$€£\\\s]", "", parts["number"] or "").replace("−", "-").replace("--", "-")
    over, under = parts.get("over"), parts.get("under")
    if compare == "text" or ":" in plain or len(plain + (over or "") + (under or "")) > MOST_DIGITS:
        return plain if signed else plain.lstrip("-")
    value = Fraction(plain)
    if over and under and int(under):
        value += Fraction(int(over), int(under)) * (-1 if value < 0 else 1)
    elif under and int(under):
        value /= int(under)
    return written(value if signed else abs(value))


def written(number: Fraction) -> str:
    """ "0.5" for 1/2, "1/3" for a number that no decimal ends."""
    places, power = 0, number.denominator
    for prime in (2, 5):
        count = 0
        while power % prime == 0:
            power, count = power // prime, count + 1
        places = max(places, count)
    if power > 1:
        return str(number)
    digits = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    sign = "-" if number < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
