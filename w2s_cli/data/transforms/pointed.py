"""Two options in a drawn order, and the number of one of them: is that option the right one?

EleutherAI's treatment of ETHICS utilitarianism. Every text shows both options, so that no option gives the label away.
"""

from collections.abc import Callable, Sequence
from typing import Any


def pointed(row: dict[str, Any], *, draw: Callable[[str], float], options: Sequence[str]) -> dict[str, Any] | None:
    """Add `one` and `two` (the options), `shown` ("1" or "2") and `label` (1: the shown number is the right option's).

    Args:
        row: the source's row.
        draw: purpose → number in [0, 1), fixed for the row.
        options: the fields of the right option and of the wrong one.

    Returns None if an option is missing or both are the same.
    """
    right, wrong = (row[field] for field in options)
    if right is None or wrong is None or str(right).strip() == str(wrong).strip():
        return None
    place, label = int(draw("place") < 0.5), int(draw("label") < 0.5)  # place: 1 if the right option is second
    one, two = (wrong, right) if place else (right, wrong)
    return {"one": one, "two": two, "shown": str(1 + (place if label else 1 - place)), "label": label}
