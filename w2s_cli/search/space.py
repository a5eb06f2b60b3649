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
EXACT = 12  # digits of a value on a step, without the last bits of a sum


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`."""

    name: str  # the field as it is typed: strong.lr
    low: float
    high: float
    log: bool = False  # its logarithm is uniform
    step: float | None = None  # between two values; None: all numbers

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def rounded(self, value: float) -> Value:
        """The value of a trial: within the bounds, a whole number where both bounds are, on a step, or with DIGITS digits."""
        if self.step is not None:
            value = self.low + round((value - self.low) / self.step) * self.step
        if self.whole:
            return round(value)
        digits = EXACT if self.step is not None else DIGITS
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def has(self, value: Value) -> bool:
        """Whether a trial can have the value."""
        if isinstance(value, str) or (self.whole and not isinstance(value, int)):
            return False
        on_step = self.step is None or abs(value - self.low - round((value - self.low) / self.step) * self.step) < 1e-9
        return on_step and self.low <= value <= self.high

    def ends(self) -> tuple[Value, Value, Value]:
        """Both bounds, and a value between them that is no whole number unless every value is one."""
        between = math.sqrt(self.low * self.high) if self.log else self.low + (self.high - self.low) / math.e
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
