"""Where bars of accuracy begin: at the share of the largest class, or at 0; the axis says which.

A bar's length is read as its value, so it begins at a level with a meaning. A constant prediction has the share of the largest class: from
there a bar is what a model has learned, and models that differ are seen to differ. If a value lies below that share, all bars begin at 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

CHANCE, ZERO = "the largest class", "0"


def base(bars: Sequence[tuple[float, float]]) -> str:
    """Where the bars begin, from the value of each and the share of the largest class among its test rows."""
    return CHANCE if all(value >= share > 0 for value, share in bars) else ZERO


def largest_class(metrics: Mapping[str, Any]) -> float:
    """The share of the largest class among the test rows; 0 of graded answers, which have no classes."""
    share: float = metrics.get("majority", 0.0)
    return share


def axis_label(begin: str, shares: Sequence[float]) -> str:
    """The label of the accuracy axis: 'test accuracy (bars from the largest class, 0.51)'; without the share if there are several."""
    levels = {f"{share:.2f}" for share in shares}
    share = f", {levels.pop()}" if begin == CHANCE and len(levels) == 1 else ""
    return f"test accuracy (bars from {begin}{share})"
