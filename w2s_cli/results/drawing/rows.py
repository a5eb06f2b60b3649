"""A row for each setting or data set: points with intervals beside their names, for more of them than bars side by side can name.

Names stand left of the axes, one a row, so any number of them is readable; the figure grows downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from w2s_cli.results.drawing.style import PAGE_INCHES, fit, quiet_grid, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.13  # of one series in a row, and as much between rows
CLOSE_INCHES = 0.075  # the same of many rows
TALLEST = 8.0  # inches of rows on a page
LINE_INCHES = 0.115  # of 7-point text


@dataclass(frozen=True)
class Series:
    """One mark in every row."""

    name: str
    colour: str
    marker: str
    values: Sequence[float | None]
    intervals: Sequence[Sequence[float] | None]
    hollow: bool = False


def height(names: Sequence[str], series: int, inches: float) -> float:
    """Inches of the rows, without title, legend and axis label; many rows stand closer, as long as they fit on a page."""
    wanted = len(names) * max(ROW_INCHES * (series + 0.9), LINE_INCHES * (_lines(names, inches) + 0.6))
    return max(0.5, min(wanted, max(TALLEST, len(names) * _closest(names, series, inches))))


def fitting(names: Sequence[str], series: int, inches: float) -> int:
    """How many rows fit on a page."""
    return min(len(names), int(TALLEST / _closest(names, series, inches)))


def _closest(names: Sequence[str], series: int, inches: float) -> float:
    return max(CLOSE_INCHES * (series + 0.9), LINE_INCHES * (_lines(names, inches) + 0.4))


def _lines(names: Sequence[str], inches: float) -> int:
    return max(broken(name, inches).count("\n") + 1 for name in names)


def broken(name: str, inches: float) -> str:
    """A row's name in lines that leave most of the width to the figure."""
    return fit(name, 2.2 if inches >= PAGE_INCHES - 0.01 else 1.05)


def dots(axes: "Axes", names: Sequence[str], series: Sequence[Series], inches: float) -> list[Any]:
    """Draw the rows, the first on top; returns what a legend names."""
    step = 1 / (len(series) + 0.9)
    handles = []
    for place, one in enumerate(series):
        face = "white" if one.hollow else one.colour
        handle = None
        for row, (value, interval) in enumerate(zip(one.values, one.intervals, strict=True)):
            if value is None:
                continue
            y = row + (place - (len(series) - 1) / 2) * step
            handle = axes.errorbar(
                value,
                y,
                xerr=spread(interval, value),
                fmt=one.marker,
                color=one.colour,
                markerfacecolor=face,
                markersize=4,
                elinewidth=0.8,
                capsize=1.5,
                capthick=0.8,
            )
        if handle is not None:
            handle.set_label(one.name)
            handles.append(handle)
    name_rows(axes, names, inches)
    return handles


def bars(axes: "Axes", names: Sequence[str], series: Sequence[Series], inches: float, floor: float) -> list[Any]:
    """The same as bars that begin at `floor`, each with its interval."""
    step = 0.86 / len(series)
    handles = []
    for place, one in enumerate(series):
        rows = [row for row, value in enumerate(one.values) if value is not None]
        levels = [value for value in one.values if value is not None]
        places = [row + (place - (len(series) - 1) / 2) * step for row in rows]
        if not rows:
            continue
        handles.append(
            axes.barh(
                places,
                [level - floor for level in levels],
                height=step * 0.94,
                left=floor,
                color="white" if one.hollow else one.colour,
                edgecolor=one.colour if one.hollow else "white",
                linewidth=0.8 if one.hollow else 0.4,
                hatch=one.marker or None,
                label=one.name,
            )
        )
        for y, row, level in zip(places, rows, levels, strict=True):
            axes.errorbar(level, y, xerr=spread(one.intervals[row], level), color="0.1", elinewidth=0.7, capsize=1.3)
    name_rows(axes, names, inches)
    return handles


def name_rows(axes: "Axes", names: Sequence[str], inches: float) -> None:
    """The names left of the axes, a line between the rows, the first row on top."""
    axes.set_yticks(range(len(names)), [broken(name, inches) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=2.5)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="0.9", linewidth=0.5, zorder=0)
    quiet_grid(axes, "x")
