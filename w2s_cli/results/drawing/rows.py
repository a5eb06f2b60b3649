"""Rows of points with intervals, one for each setting or data set, for more of them than fit as bars side by side.

Each row has its name left of the axes, so any number of names is readable; the figure grows downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from w2s_cli.results.drawing.style import PAGE_INCHES, fit, quiet_grid, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.13  # height of one series in a row, and about the space between rows
CLOSE_INCHES = 0.075  # the same for many rows
TALLEST = 8.0  # largest height of the rows on a page
LINE_INCHES = 0.115  # height of a line of 7-point text


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
    """Inches of the rows, without title, legend and axis label; many rows are closer, so that they fit on a page."""
    wanted = len(names) * max(ROW_INCHES * (series + 0.9), LINE_INCHES * (_lines(names, inches) + 0.6))
    return max(0.5, min(wanted, max(TALLEST, len(names) * _closest(names, series, inches))))


def fitting(names: Sequence[str], series: int, inches: float) -> int:
    """The number of rows that fit on a page."""
    return min(len(names), int(TALLEST / _closest(names, series, inches)))


def _closest(names: Sequence[str], series: int, inches: float) -> float:
    return max(CLOSE_INCHES * (series + 0.9), LINE_INCHES * (_lines(names, inches) + 0.4))


def _lines(names: Sequence[str], inches: float) -> int:
    return max(broken(name, inches).count("\n") + 1 for name in names)


def broken(name: str, inches: float) -> str:
    """A row's name broken into lines, which leave most of the width to the axes."""
    return fit(name, 2.2 if inches >= PAGE_INCHES - 0.01 else 1.05)


def dots(axes: "Axes", names: Sequence[str], series: Sequence[Series], inches: float) -> list[Any]:
    """Draw the rows, the first on top; returns the handles of a legend."""
    step = 1 / (len(series) + 0.9)
    handles = []
    for place, mark in enumerate(series):
        face = "white" if mark.hollow else mark.colour
        handle = None
        for row, (value, interval) in enumerate(zip(mark.values, mark.intervals, strict=True)):
            if value is None:
                continue
            y = row + (place - (len(series) - 1) / 2) * step
            handle = axes.errorbar(
                value,
                y,
                xerr=spread(interval, value),
                fmt=mark.marker,
                color=mark.colour,
                markerfacecolor=face,
                markersize=4,
                elinewidth=0.8,
                capsize=1.5,
                capthick=0.8,
            )
        if handle is not None:
            handle.set_label(mark.name)
            handles.append(handle)
    name_rows(axes, names, inches)
    return handles


def bars(
    axes: "Axes", names: Sequence[str], series: Sequence[Series], inches: float, floors: Sequence[float]
) -> list[Any]:
    """The same rows as bars from each row's floor, each with its interval."""
    step = 0.86 / len(series)
    handles = []
    for place, mark in enumerate(series):
        rows = [row for row, value in enumerate(mark.values) if value is not None]
        levels = [value for value in mark.values if value is not None]
        places = [row + (place - (len(series) - 1) / 2) * step for row in rows]
        if not rows:
            continue
        handles.append(
            axes.barh(
                places,
                [level - floors[row] for row, level in zip(rows, levels, strict=True)],
                height=step * 0.94,
                left=[floors[row] for row in rows],
                color="white" if mark.hollow else mark.colour,
                edgecolor=mark.colour if mark.hollow else "white",
                linewidth=0.8 if mark.hollow else 0.4,
                hatch=mark.marker or None,
                label=mark.name,
            )
        )
        for y, row, level in zip(places, rows, levels, strict=True):
            axes.errorbar(level, y, xerr=spread(mark.intervals[row], level), color="0.1", elinewidth=0.7, capsize=1.3)
    name_rows(axes, names, inches)
    return handles


def name_rows(axes: "Axes", names: Sequence[str], inches: float) -> None:
    """Write the names left of the axes, with a line between rows and the first row on top."""
    axes.set_yticks(range(len(names)), [broken(name, inches) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=2.5)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="0.9", linewidth=0.5, zorder=0)
    quiet_grid(axes, "x")
