"""curves: the figures that training stages wrote to metrics.jsonl: the loss, and others by step (validation, agreement).

* Each quantity has a row, and each stage name (weak, student, ceiling, …) a column. Stages that differ in more than their seeds (another
  loss, another data set) are groups of their own colour. A median is over the seeds of one group, never over groups.
* The figures of single updates are faint points, since they are noisy; the lines are running means over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.groups import grouped
from w2s_cli.results.drawing.names import heading
from w2s_cli.results.drawing.style import (
    COLOURS,
    COLUMN_INCHES,
    PAGE_INCHES,
    PALETTE,
    fit,
    legend_of_panel,
    new_figure,
    quiet_grid,
)
from w2s_cli.results.reader import Run
from w2s_cli.results.stages import Stage
from w2s_cli.results.written_metrics import Curve, Points, read_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Figures of the training stages by step. Points are single updates, lines their running means; several seeds are thin lines, and their "
    "median is thick."
)
NAMES_SHOWN = 4
GROUPS_SHOWN = 4
QUANTITIES_SHOWN = 4
FEW = 8  # points of a curve that are drawn as they are
SMOOTHED = 5  # a running mean is over a fifth of a curve's points


@dataclass
class Group:
    """The curves of the stages that differ in their seeds only."""

    name: str
    curves: list[Curve] = field(default_factory=list)


def curves(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError if no stage has written a metric."""
    columns = columns_of(run)
    if not columns:
        raise NoDataError("no stage of this run has written metrics.jsonl: no training curves to draw")
    names = list(columns)[:NAMES_SHOWN]
    shown = {name: columns[name][:GROUPS_SHOWN] for name in names}
    all_quantities = dict.fromkeys(q for groups in shown.values() for g in groups for curve in g.curves for q in curve)
    quantities = sorted(all_quantities, key=lambda q: (q != "loss", q))[:QUANTITIES_SHOWN]
    inches = inches or (COLUMN_INCHES if len(names) < 3 else PAGE_INCHES)
    named = max(sum(bool(group.name) for group in groups) for groups in shown.values())  # lines of a legend
    figure = new_figure(inches, 0.6 + 1.5 * len(quantities) + 0.13 * named)
    grid = figure.subplots(len(quantities), len(names), squeeze=False, sharey="row", sharex="col")
    for row, quantity in enumerate(quantities):
        for column, name in enumerate(names):
            axes = grid[row][column]
            _draw(axes, quantity, shown[name], COLOURS.get(name, "#CC79A7"))
            if column == 0:
                axes.set_ylabel(quantity.replace("_", " "))
            if row == 0:
                _head(axes, name, shown[name], len(columns[name]), inches / len(names) - 0.3)
            if row == len(quantities) - 1:
                axes.set_xlabel("step")
    if run.settings:
        cut = f"; the first {len(names)} of {len(columns)} stages" if len(columns) > len(names) else ""
        figure.suptitle(fit(heading(run.settings) + cut, inches - 0.1), x=0.01, ha="left", fontsize=8)
    return figure


def columns_of(run: Run) -> dict[str, list[Group]]:
    """Stage name → its groups, of the stages that have curves."""
    curve_of: dict[str, Curve] = {}
    by_name: dict[str, list[Stage]] = {}
    for stage in run.stages:
        curve = read_curve(stage.folder / "metrics.jsonl") if stage.folder else {}
        if curve:
            curve_of[stage.key] = curve
            by_name.setdefault(stage.name, []).append(stage)
    return {
        name: [Group(label, [curve_of[stage.key] for stage in group]) for label, group in grouped(run, stages)]
        for name, stages in by_name.items()
    }


def _head(axes: "Axes", name: str, groups: Sequence[Group], count: int, inches: float) -> None:
    """The stage's name, its number of runs, and the names of its groups with their colours."""
    runs = sum(len(group.curves) for group in groups)
    words = [f"{runs} runs"] if runs > 1 else []
    words += [f"the first {len(groups)} of {count} settings"] if count > len(groups) else []
    title = fit(name + (f" ({', '.join(words)})" if words else ""), inches)
    if len(groups) == 1:
        axes.set_title(title, fontsize=7)
        return
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=PALETTE[place], label=fit(group.name, inches - 0.35)) for place, group in enumerate(groups)
    ]
    legend_of_panel(axes, title, handles=handles, handlelength=1.2)


def _draw(axes: "Axes", quantity: str, groups: Sequence[Group], colour: str) -> None:
    """One quantity of one stage name."""
    for place, group in enumerate(groups):
        lines = [curve[quantity] for curve in group.curves if quantity in curve]
        _lines(axes, lines, PALETTE[place] if len(groups) > 1 else colour)
    if not axes.lines:
        axes.text(0.5, 0.5, "–", transform=axes.transAxes, ha="center", color="0.5")
    quiet_grid(axes, "y")
    axes.tick_params(axis="x", length=2.5)


def _lines(axes: "Axes", lines: Sequence[Points], colour: str) -> None:
    """The runs of one group: faint points, their running means, and the median of more than two runs with the same steps."""
    means = [smoothed(line) for line in lines]
    steps = [tuple(step for step, _ in line) for line in lines]
    with_median = len(lines) > 2 and len(set(steps)) == 1
    for line, mean in zip(lines, means, strict=True):
        if mean is not line:
            axes.plot(*zip(*line, strict=True), color=colour, linestyle="", marker=".", markersize=3, alpha=0.25, mew=0)
        axes.plot(
            *zip(*mean, strict=True),
            color=colour,
            linewidth=0.5 if with_median else 1.1,
            alpha=0.5 if with_median else 1,
            marker="o" if len(line) < FEW else "",
            markersize=1.5 if with_median else 2.5,
        )
    if with_median:
        from statistics import median

        levels = [median(mean[i][1] for mean in means) for i in range(len(steps[0]))]
        axes.plot(steps[0], levels, color=colour, linewidth=1.6)


def smoothed(line: Points) -> Points:
    """The running mean over a fifth of the points, centred, of those that exist at both ends. A curve of few points stays as it is."""
    if len(line) < FEW:
        return line
    half = max(1, len(line) // SMOOTHED // 2)
    means = []
    for place, (step, _) in enumerate(line):
        near = [value for _, value in line[max(0, place - half) : place + half + 1]]
        means.append((step, sum(near) / len(near)))
    return means
