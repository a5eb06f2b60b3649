"""The order of levels of difficulty, in every table and figure."""

import math
from collections.abc import Iterable


def in_order(levels: Iterable[str]) -> list[str]:
    """The distinct levels: numbers by value (2 before 10), then other names, shorter ones first ("level 2" before "level 10")."""
    return sorted(set(levels), key=lambda level: (_number(level), len(level), level))


def _number(level: str) -> float:
    """Its value; infinity of what is no number."""
    try:
        value = float(level)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
