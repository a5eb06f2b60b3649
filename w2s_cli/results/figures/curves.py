"""curves: the figures that training stages wrote to metrics.jsonl: the loss, and others by step (validation, agreement).

Each quantity has a row, and each stage name (weak, student, ceiling, …) a column. The runs of a sweep are thin lines in one colour, with
their median over them.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import heading
from w2s_cli.results.drawing.style import COLOURS, COLUMN_INCHES, PAGE_INCHES, fit, new_figure, quiet_grid
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = "Figures of the training stages by step; several runs are thin lines, their median is dashed."
Curve = dict[str, list[tuple[float, float]]]  # quantity → (step, value)
NOT_SHOWN = {"step", "lr"}  # the learning rate is in the configuration
NAMES_SHOWN = 4
QUANTITIES_SHOWN = 4


def curves(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError if no stage has written a metric."""
    curves_of: dict[str, list[Curve]] = {}
    for stage in run.stages:
        curve = read_curve(stage.folder / "metrics.jsonl") if stage.folder else {}
        if curve:
            curves_of.setdefault(stage.name, []).append(curve)
    if not curves_of:
        raise NoDataError("no stage of this run has written metrics.jsonl: no training curves to draw")
    names = list(curves_of)[:NAMES_SHOWN]
    all_quantities = dict.fromkeys(q for name in names for curve in curves_of[name] for q in curve)
    quantities = sorted(all_quantities, key=lambda q: (q != "loss", q))[:QUANTITIES_SHOWN]
    inches = inches or (COLUMN_INCHES if len(names) < 3 else PAGE_INCHES)
    figure = new_figure(inches, 0.6 + 1.5 * len(quantities))
    grid = figure.subplots(len(quantities), len(names), squeeze=False, sharey="row", sharex="col")
    for row, quantity in enumerate(quantities):
        for column, name in enumerate(names):
            axes = grid[row][column]
            lines = [curve[quantity] for curve in curves_of[name] if quantity in curve]
            _draw(axes, lines, COLOURS.get(name, "#CC79A7"))
            if column == 0:
                axes.set_ylabel(quantity.replace("_", " "))
            if row == 0:
                count = f" ({len(lines)} runs)" if len(lines) > 1 else ""
                axes.set_title(fit(name + count, inches / len(names) - 0.3), fontsize=7)
            if row == len(quantities) - 1:
                axes.set_xlabel("step")
            if not lines:
                axes.text(0.5, 0.5, "–", transform=axes.transAxes, ha="center", color="0.5")
    if run.settings:
        cut = f"; the first {len(names)} of {len(curves_of)} stages" if len(curves_of) > len(names) else ""
        figure.suptitle(fit(heading(run.settings) + cut, inches - 0.1), x=0.01, ha="left", fontsize=8)
    return figure


def _draw(axes: "Axes", lines: list[list[tuple[float, float]]], colour: str) -> None:
    """The runs of one stage name."""
    for line in lines:
        single = len(lines) == 1
        mark = "o" if len(line) < 8 else ""
        axes.plot(
            [step for step, _ in line],
            [value for _, value in line],
            color=colour,
            linewidth=1.1 if single else 0.5,
            alpha=1 if single else 0.5,
            marker=mark,
            markersize=2.5 if single else 1.5,
        )
    steps = [tuple(step for step, _ in line) for line in lines]
    if len(lines) > 2 and len(set(steps)) == 1:  # only if all runs have the same steps
        from statistics import median

        levels = [median(line[i][1] for line in lines) for i in range(len(steps[0]))]
        axes.plot(steps[0], levels, color="0.1", linewidth=1.2, linestyle=(0, (4, 1.5)))
    quiet_grid(axes, "y")
    axes.tick_params(axis="x", length=2.5)


def read_curve(path: Path) -> Curve:
    """The curves of a metrics.jsonl, without cut-short lines."""
    curve: Curve = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    for line in text.splitlines():
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or not _number(entry.get("step")):
            continue
        for name, value in entry.items():
            if name not in NOT_SHOWN and _number(value):
                curve.setdefault(name, []).append((float(entry["step"]), float(value)))
    return curve


def _number(value: Any) -> bool:
    from math import isfinite

    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
