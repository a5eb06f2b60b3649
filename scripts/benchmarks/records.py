"""What a measurement is: one number with its range, what is wanted of it, and the figures behind it.

A record that is a ratio of two programs on one machine, or a count, should come out alike on another day: those are stored and checked.
Seconds are shown and held against their target, and not checked.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, median, stdev
from typing import Any

CHECKED = ("×", "share", "count")  # units that a check compares
TOLERANCE = 0.20  # how much worse than the stored value a checked record may be


@dataclass(frozen=True)
class Record:
    """One measured number."""

    part: str
    name: str  # unique within its part
    value: float
    unit: str  # × (more is better), s, MiB, share, count, points, tokens/s, …
    low: float | None = None  # range over repeats, or an interval
    high: float | None = None
    better: str = "more"  # or less
    target: float | None = None  # at least this (or at most)
    met: bool | None = None  # None: no target
    detail: dict[str, Any] = field(default_factory=dict)  # medians of each program, sizes
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.part}: {self.name}"


def record(part: str, name: str, values: Sequence[float], unit: str, **more: Any) -> Record:
    """A record of repeated measurements: their median, range, and whether it reaches the target."""
    value = median(values)
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    made = Record(part, name, value, unit, low, high, **more)
    if made.target is None or made.met is not None:
        return made
    met = value >= made.target if made.better == "more" else value <= made.target
    return Record(**{**asdict(made), "met": met})


def paired_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of paired differences (Student's t); None for fewer than two."""
    if len(differences) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.975, len(differences) - 1)) * stdev(differences) / math.sqrt(len(differences))
    return mean(differences) - half, mean(differences) + half


def regressions(stored: Sequence[Record], now: Sequence[Record]) -> list[str]:
    """One line for each checked record that is more than `TOLERANCE` worse than the stored one."""
    before = {one.key: one for one in stored}
    lines = []
    for one in now:
        old = before.get(one.key)
        if old is None or one.unit not in CHECKED:
            continue
        if one.better == "more":
            worse = one.value < old.value * (1 - TOLERANCE)
        else:
            worse = one.value > max(old.value, 0.0) * (1 + TOLERANCE) + (0.02 if one.unit == "share" else 0.0)
        if worse:
            lines.append(f"{one.key}: {one.value:.3g} {one.unit}, stored {old.value:.3g} {old.unit}")
    return lines
