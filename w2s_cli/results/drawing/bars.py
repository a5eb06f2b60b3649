"""Bars of weak supervisor, student and ceiling, a few settings side by side, with PGR.

* Bars begin at the share of the largest class, the accuracy of a constant prediction, or at 0 (`base`): never at a level that the axis
  happens to have. Where they begin at 0, or runs have different shares, that share is a dashed line.
* A PGR without an interval is "no gap", as in the tables: its gap may be zero.
"""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from w2s_cli.results.drawing.base import CHANCE, ZERO, axis_label, base, largest_class
from w2s_cli.results.drawing.style import COLOURS, COLUMN_INCHES, LETTERS_PER_INCH, PAGE_INCHES, new_figure
from w2s_cli.results.text_table import NO_GAP, number, pgr_bounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS_IN_A_COLUMN = 3
WIDEST = 14  # letters of an interval in one line beside the bars
LEAST_MARGIN = 0.01  # of accuracy, below and above all values


def bars(runs: Mapping[str, Mapping[str, Any]], title: str, inches: float | None) -> "Figure":
    """The figure, in matplotlib's current settings.

    Args:
        runs: name of the setting → metrics of its evaluate or summary stage; a single name is not shown.
        inches: width; None: it depends on the number of groups.
    """
    inches = inches or (COLUMN_INCHES if len(runs) <= GROUPS_IN_A_COLUMN else PAGE_INCHES)
    figure = new_figure(inches, 2.3)
    axes = figure.add_subplot()
    begin = base(
        [(metrics[role]["accuracy"], largest_class(metrics)) for metrics in runs.values() for role in _roles(metrics)]
    )
    _frame(axes, runs, begin, textwrap.fill(title, int((inches - 0.5) * LETTERS_PER_INCH)))
    if len(runs) == 1:
        _single(axes, next(iter(runs.values())), begin, inches)
    else:
        _groups(axes, runs, begin, int((inches - 0.8) / len(runs) * LETTERS_PER_INCH))
    return figure


def _roles(metrics: Mapping[str, Any]) -> list[str]:
    return [role for role in COLOURS if role in metrics]


def _frame(axes: "Axes", runs: Mapping[str, Mapping[str, Any]], begin: str, title: str) -> None:
    """Title, accuracy axis and its limits."""
    levels = [
        level
        for metrics in runs.values()
        for role in _roles(metrics)
        for level in (largest_class(metrics), *metrics[role]["interval"], *metrics[role]["per_seed"]["accuracy"])
    ]
    low, high = 0.0 if begin == ZERO else min(levels), max(levels)
    margin = max(0.12 * (high - low), LEAST_MARGIN)
    below = (
        0.0 if low in (0.0, *(largest_class(metrics) for metrics in runs.values())) else margin
    )  # for intervals' ends
    axes.set_ylim(low - below, high + margin)
    shares = [largest_class(metrics) for metrics in runs.values()]
    axes.set_ylabel(axis_label(begin, shares).replace(" (", "\n("))
    axes.set_title(title, loc="left", pad=8 if len(runs) == 1 else 18)  # several runs have a legend above


def _chance(axes: "Axes", left: float, right: float, level: float) -> None:
    """The line of the largest class's share, between `left` and `right`."""
    axes.plot([left, right], [level, level], color="0.35", linewidth=0.7, linestyle=(0, (4, 2)), zorder=3)


def _chance_label(axes: "Axes", level: float) -> None:
    """The name of that line, right of the axes."""
    axes.annotate(
        f"largest\nclass\n{level:.2f}",
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        color="0.35",
        fontsize=7,
    )


def _bar(axes: "Axes", x: float, width: float, role: str, metrics: Mapping[str, Any], begin: str) -> None:
    """One bar, its interval, and a dot for each seed."""
    block, floor = metrics[role], largest_class(metrics) if begin == CHANCE else 0.0
    level, (low, high) = block["accuracy"], block["interval"]
    axes.bar(x, level - floor, width, bottom=floor, color=COLOURS[role], label=role, linewidth=0)
    axes.errorbar(
        x,
        level,
        yerr=[[max(level - low, 0)], [max(high - level, 0)]],
        color="0.1",
        linewidth=0.9,
        capsize=2,
        zorder=4,
    )
    seeds = block["per_seed"]["accuracy"]
    if len(seeds) > 1:
        spread = [x - width * (0.4 - 0.3 * i / (len(seeds) - 1)) for i in range(len(seeds))]  # left of the interval
        axes.scatter(spread, seeds, s=4, color="white", edgecolor="0.1", linewidth=0.4, zorder=5)


def _single(axes: "Axes", metrics: Mapping[str, Any], begin: str, inches: float) -> None:
    """One run: a bar per role with its figure, and the gap beside them with the recovered part filled."""
    roles = _roles(metrics)
    for x, role in enumerate(roles):
        _bar(axes, x, 0.62, role, metrics, begin)
    axes.set_xticks(range(len(roles)), [f"{role}\n{number(metrics[role]['accuracy'])}" for role in roles])
    right = len(roles) - 0.5
    if _from_weak(metrics):
        lines = "\n".join(_pgr(metrics["pgr"], WIDEST)).split("\n")
        right = _room(len(roles) - 0.3, max(map(len, lines)), inches)
        _gap(axes, len(roles) - 0.3, metrics)
    axes.set_xlim(-0.5, right)
    if begin == ZERO and "majority" in metrics:
        _chance(axes, -0.5, right, largest_class(metrics))
        _chance_label(axes, largest_class(metrics))


def _room(x: float, letters: int, inches: float) -> float:
    """The end of the axis, so that `letters` characters beside `x` fit before the label of the largest class."""
    text, width = 0.058 * letters + 0.12, inches - 0.95  # inches, without the labels left and right of the axes
    return max(x + 1.15, (0.5 * text + x * width) / (width - text))


def _gap(axes: "Axes", x: float, metrics: Mapping[str, Any]) -> None:
    """The gap from weak to ceiling as a vertical scale, the student's level on it, and PGR."""
    weak, student, ceiling = (metrics[role]["accuracy"] for role in COLOURS)
    for position, (role, level) in enumerate(zip(COLOURS, (weak, student, ceiling), strict=True)):
        axes.plot([position + 0.31, x], [level, level], color=COLOURS[role], linewidth=0.7, linestyle=":", zorder=0)
    axes.plot([x, x], [weak, ceiling], color="0.8", linewidth=3, solid_capstyle="butt")
    pgr = metrics["pgr"]
    if pgr["interval"]:
        axes.plot([x, x], [weak, student], color=COLOURS["student"], linewidth=3, solid_capstyle="butt")
    value, interval = _pgr(pgr, WIDEST)
    paper = {"facecolor": "white", "linewidth": 0, "pad": 0.6}  # the dashed line ends at the text
    axes.annotate(
        value,
        (x, (weak + ceiling) / 2),
        xytext=(5, 1),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontweight="bold",
        bbox=paper,
        zorder=4,
    )
    axes.annotate(
        interval,
        (x, (weak + ceiling) / 2),
        xytext=(5, -1),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=7,
        bbox=paper,
        zorder=4,
    )


def _from_weak(metrics: Mapping[str, Any]) -> bool:
    """Whether a recovered gap begins at the weak bar; one from another floor (RGR) is in the table only."""
    return "pgr" in metrics and metrics.get("floor", "weak") == "weak"


def _pgr(pgr: Mapping[str, Any], letters: int = 100) -> tuple[str, str]:
    """The texts of PGR and its interval in a figure; an interval of more letters has two lines."""
    if not pgr["interval"]:
        return f"PGR: {NO_GAP}", ""
    interval = pgr_bounds(pgr)
    return f"PGR {number(pgr['value'], 2)}", interval if len(interval) <= letters else interval.replace(", ", ",\n ")


def _groups(axes: "Axes", runs: Mapping[str, Mapping[str, Any]], begin: str, letters: int) -> None:
    """Several runs: a group of bars for each, with PGR under its name, which is broken after `letters` characters."""
    names = []
    of_classes = [metrics for metrics in runs.values() if "majority" in metrics]  # graded answers have no largest class
    shared = len(of_classes) == len(runs) and len({round(largest_class(metrics), 2) for metrics in of_classes}) == 1
    for group, (name, metrics) in enumerate(runs.items()):
        for place, role in enumerate(COLOURS):
            if role in metrics:
                _bar(axes, group + (place - 1) * 0.27, 0.25, role, metrics, begin)
        lines = [textwrap.fill(name, letters), *(filter(None, _pgr(metrics["pgr"])) if _from_weak(metrics) else ())]
        if "majority" in metrics and not shared:
            lines.append(f"largest class {metrics['majority']:.2f}")
            _chance(axes, group - 0.5, group + 0.5, largest_class(metrics))
        names.append("\n".join(lines))
    if shared and begin == ZERO:
        level = largest_class(of_classes[0])
        _chance(axes, -0.5, len(runs) - 0.5, level)
        _chance_label(axes, level)
    axes.set_xticks(range(len(runs)), names)
    axes.set_xlim(-0.5, len(runs) - 0.5)
    handles, labels = axes.get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))
    axes.legend(
        legend.values(),
        legend,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
        frameon=False,
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1,
        borderaxespad=0.2,
        fontsize=7,
    )
