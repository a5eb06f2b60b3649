r"""boxed: the content of \boxed{…}, the last or the first one, in one spelling of LaTeX.

* Students that go on writing after their answer turn it wrong under the last box, so the first box is the other common choice
  (a reproduction of W2SR has 67.0 instead of 62.6 on MATH500 with it).
* Without a box the right answer of a recipe is taken as it is; a completion without a box has no answer.
* Spellings: spaces, `\left`, `\right`, `\!`, units in `\text{…}`, `\dfrac`, dollar and percent signs do not count, and fractions and
  decimals are compared by value. For other formulas use the grader math.
"""

import re
from fractions import Fraction
from typing import Literal

from w2s_cli.graders import Problem, Reading

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
GONE = re.compile(r"\\left|\\right|\\[!,;:]|\\ |\\\$|\$|\\%|%|\\circ|\^\{?\\circ\}?|\\text\{\s*[^{}]*\}$|\s+")
FRACTION = re.compile(r"(-?)\\frac\{?(\d+)\}?\{?(\d+)\}?")
RATIO = re.compile(r"-?\d+/\d+")
DECIMAL = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)")


def boxed(text: str, problem: Problem, *, which: Literal["first", "last"] = "last") -> Reading:
    """The content of a box.

    Args:
        text: a solution, or the right answer.
        problem: `answer` tells the right answer from a completion.
        which: of several boxes.
    """
    boxes = [content for match in BOX.finditer(text) if (content := _content(text, match.end())) is not None]
    if boxes:
        return Reading(_spelled(boxes[0] if which == "first" else boxes[-1]) or None)
    return Reading(_spelled(text) or None if text == problem.answer else None)


def _content(text: str, start: int) -> str | None:
    """The text from `start` to the brace that closes the box; None of a box that a cut text leaves open."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
    return None


def _spelled(content: str) -> str:
    plain = content.strip().removesuffix(".").replace("dfrac", "frac").replace("tfrac", "frac")
    named = re.fullmatch(r"\s*\\(?:text|mathrm|textbf)\{([^{}]*)\}\s*", plain)
    if named:
        return named[1].strip()
    plain = GONE.sub("", plain)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain)  # 1,234
    fraction = FRACTION.fullmatch(plain)
    if fraction and int(fraction[3]):
        return str(Fraction(int(f"{fraction[1]}{fraction[2]}"), int(fraction[3])))
    if (RATIO.fullmatch(plain) and int(plain.partition("/")[2])) or DECIMAL.fullmatch(plain):
        return str(Fraction(plain.removesuffix(".")))
    return plain
