"""The space of a search: fields of the configuration, each with an interval or with choices.

* A number is rounded to DIGITS digits. A trial can then be typed, and the sampler is told the value that was run.
* A value is a number or, of choices, the text of a word. JSON holds both, and so does the command line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Value = float | int | str
Params = dict[str, Value]  # field → value

DIGITS = 4


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`."""

    name: str  # the field as it is typed: strong.lr
    low: float
    high: float
    log: bool = False  # its logarithm is uniform
    step: float | None = None  # between two values; None: all numbers

    def rounded(self, value: float) -> Value:
        """The value of a trial: DIGITS digits, within the bounds, a whole number where both bounds are whole."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def has(self, value: Value) -> bool:
        """Whether a trial can have the value."""
        return not isinstance(value, str) and self.low <= value <= self.high

    def ends(self) -> tuple[Value, Value, Value]:
        """Both bounds, and a value between them that is no whole number unless every value is one."""
        between = math.sqrt(self.low * self.high) if self.log else self.low + (self.high - self.low) / math.e
        if self.step is not None:
            between = self.low + self.step * int((between - self.low) / self.step)
        return self.low, self.high, self.rounded(between)


@dataclass(frozen=True)
class Choices:
    """One of several words."""

    name: str
    values: tuple[str, ...]

    def has(self, value: Value) -> bool:
        """Whether a trial can have the value."""
        return value in self.values

    def ends(self) -> tuple[Value, ...]:
        """All choices."""
        return self.values


Dimension = Interval | Choices


def as_json(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """The space as plain values, for the record and for the name of a search."""
    return [
        dict(vars(dimension)) | ({"values": list(dimension.values)} if isinstance(dimension, Choices) else {})
        for dimension in space
    ]
