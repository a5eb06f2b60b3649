"""Multiple choice as a problem whose answer is a letter: all options as lines "A) …", in the source's order.

* Letters are given in order, whatever the source calls its options (some rows of ARC have 1 to 4).
* For true or false questions about one option, see choice.
"""

from collections.abc import Callable, Sequence
from typing import Any

from w2s_cli.data.transforms.choice import _options, _position  # private there: its code is part of the keys of rows

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def lettered(
    row: dict[str, Any],
    *,
    draw: Callable[[str], float],
    choices: Sequence[str] | str,
    answer: str,
    first: int = 0,
    by_text: bool = False,
) -> dict[str, Any] | None:
    """Add `listed` (the options, one a line), `letter` (of the right one) and `solution` ("The answer is B) ice.").

    Args:
        row: the source's row.
        draw: not used: every option is shown.
        choices: the fields of the options, or the one field with a list of them.
        answer: the field of the right option, as a number from `first`, or as the option's own label.
        first: the number of the first option, if `answer` is a number.
        by_text: `answer` holds the text of the right option.

    Returns None for a row without a right option, or with fewer than two options.
    """
    if row[answer] is None or (isinstance(choices, str) and row[choices] is None):
        return None
    options, names = _options(row, choices)
    right = _position(row[answer], options if by_text else names, None if by_text else first)
    if right is None or not 0 <= right < len(options) or not 2 <= len(options) <= len(LETTERS):
        return None
    lines = [f"{letter}) {' '.join(option.split())}" for letter, option in zip(LETTERS, options, strict=False)]
    end = "" if lines[right].endswith((".", "!", "?")) else "."
    return {"listed": "\n".join(lines), "letter": LETTERS[right], "solution": f"The answer is {lines[right]}{end}"}
