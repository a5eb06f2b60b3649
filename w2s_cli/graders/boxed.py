r"""boxed: the content of \boxed{…}, the last or the first one, in one spelling of LaTeX.

* Students that go on writing after their answer turn it wrong under the last box, so the first box is the other common choice
  (a reproduction of W2SR has 67.0 instead of 62.6 on MATH500 with it).
* Without a box the right answer of a recipe is taken as it is; a completion without a box has no answer. Nor has a box that a cut text
  leaves open.
* Spellings: spaces, `\left`, `\right`, `\!`, units in `\text{…}`, `\dfrac`, dollar and percent signs and a leading "x =" do not count, and
  fractions and decimals are compared by value. For other formulas use the grader math.
"""

import re
from fractions import Fraction
from typing import Literal

from w2s_cli.graders import Problem, Reading
from w2s_cli.graders.number import written

BOX = re.compile(
    r"\\(?:boxed|fbox)\s*(?:\{|(?<=\s)([^\s{$]+))"
)  # "\boxed{18}", and "\boxed 18" as in a few rows of MATH
GONE = re.compile(r"\\left(?![a-z])|\\right(?![a-z])|\\[!,;: ]|\\?\$|\\?%|\^\{?\\circ\}?|\\circ|~|\s+")
UNIT = re.compile(
    r"(?<=.)\\(?:text|mbox|mathrm)\{\s*[^{}]*\}(?:\^\{?\d\}?)?$"
)  # at the end, after a number: "\text{ cm}^2"
NAMED = re.compile(r"\\(?:text|mathrm|textbf|mbox)\{([^{}]*)\}")
VARIABLE = re.compile(r"^[A-Za-z]=(?=[^=]+$)")
ROOT = re.compile(r"\\sqrt([0-9A-Za-z])")
FRACTION = re.compile(r"(-?)\\frac\{?(-?)(\d+)\}?\{?(\d+)\}?")
RATIO = re.compile(r"-?\d+/\d+")
THOUSANDS = re.compile(r"-?\d{1,3}(?:\{?,\}?\d{3})+(?:\.\d+)?")
DECIMAL = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)")
MOST_DIGITS = 1000  # of a number that is compared by value


def boxed(text: str, problem: Problem, *, which: Literal["first", "last"] = "last") -> Reading:
    """The content of a box.

    Args:
        text: a solution.
        problem: not used.
        which: of several boxes.
    """
    contents = boxes(text)
    return Reading(spelled(contents[0 if which == "first" else -1])) if contents else Reading(None, False)


def answer(text: str, problem: Problem, *, which: Literal["first", "last"] = "last") -> Reading:
    """The right answer: the last box of a solution, whatever `which` says of completions, or an answer without a box."""
    return boxed(text, problem) if BOX.search(text) else Reading(spelled(text))


def boxes(text: str) -> list[str]:
    """The contents of all boxes that are closed."""
    contents = [match[1] or _content(text, match.end()) for match in BOX.finditer(text)]
    return [content for content in contents if content is not None]


def _content(text: str, start: int) -> str | None:
    r"""The text from `start` to the brace that closes the box; None of an open box. The braces of a set, `\{`, are no such braces."""
    depth, place = 1, start
    while place < len(text):
        if text[place] == "\\":
            place += 1
        else:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
        place += 1
    return None


def spelled(content: str) -> str | None:
    """A formula in one spelling; None of an empty one."""
    plain = content.strip().removesuffix(".").replace("dfrac", "frac").replace("tfrac", "frac").replace("−", "-")
    named = NAMED.fullmatch(plain)
    if named:
        return " ".join(named[1].split()) or None
    plain = GONE.sub("", UNIT.sub("", plain))
    plain = ROOT.sub(r"\\sqrt{\1}", VARIABLE.sub("", plain))
    if len(plain) > MOST_DIGITS:
        return plain
    if THOUSANDS.fullmatch(plain):
        plain = re.sub(r"[{},]", "", plain)
    fraction = FRACTION.fullmatch(plain)
    if fraction and int(fraction[4]):
        sign = -1 if (fraction[1] == "-") != (fraction[2] == "-") else 1
        return written(Fraction(sign * int(fraction[3]), int(fraction[4])))
    if (RATIO.fullmatch(plain) and int(plain.partition("/")[2])) or DECIMAL.fullmatch(plain):
        return written(Fraction(plain.removesuffix(".")))
    return plain or None
