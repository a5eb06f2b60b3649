"""scaling: accuracy and PGR against the strong model's size or training compute (Burns et al. 2023, fig. 1 and 3).

* Each weak model (colour, marker) with each method and loss (line style) has a line. The ceiling is black; a weak supervisor's level is
  a thin dotted line in its colour.
* With several data sets the figures are medians, as in the paper. Intervals are drawn only for a single data set, since the intervals of
  the metrics are not those of a median. The axes fit the figures, and cut wide intervals.
* `w2s_cli.results.drawing.pgr` has the rules for PGR and its axis.
* Models of unknown size are side by side, in the order of their ceilings' accuracies.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError
from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import heading, student
from w2s_cli.results.drawing.pgr import Shown, arrows, left_out, shown_pgr, window
from w2s_cli.results.drawing.sizes import flops, parameters
from w2s_cli.results.drawing.style import (
    COLUMN_INCHES,
    DASHES,
    PALETTE,
    SHAPES,
    fit,
    legend_above,
    new_figure,
    quiet_grid,
    spread,
)
from w2s_cli.results.reader import Entry, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Accuracy and PGR against the strong model's size; black is the ceiling, dotted lines are the weak supervisors."
)
WIDE = True  # on the HTML page it has the width of the page
AXES = {
    "size": "parameters of the strong model",
    "compute": "FLOPs of the student's training (6 × parameters × tokens)",
}

LETTERS = 20  # of a model's name under the axis


def scaling(run: Run, inches: float | None = None, axis: str = "size") -> "Figure":
    """The figure; NoDataError for fewer than two strong models, UserError for an unknown axis."""
    if axis not in AXES:
        raise UserError(f'there is no axis "{axis}"; use one of {", ".join(AXES)}')
    entries = [e for e in run.settings if "student" in e.metrics]
    models = list(dict.fromkeys(e.fields["strong"] for e in entries))
    if len(models) < 2:
        raise NoDataError(
            f"the run has {'one strong model' if models else 'no results'}, and this figure compares several: those of a sweep over strong="
        )
    inches = inches or COLUMN_INCHES
    x, sized = places(entries, axis)
    models.sort(key=lambda model: x[model])
    lines = sorted({(e.fields["weak"], student(e, entries)) for e in entries}, key=lambda line: _first(entries, line))
    wide = inches > 4
    columns = 1 if not wide and max(len(f"{w}, {s}") for w, s in lines) > 20 else 4 if wide else 2
    legend = (len(lines) + 2 + columns - 1) // columns
    figure = new_figure(inches, (2.6 if wide else 4.1) + 0.14 * legend)
    top, bottom = figure.subplots(1, 2) if wide else figure.subplots(2, 1, sharex=True)
    handles = _accuracy(top, entries, lines, x, sized)
    _pgr(bottom, entries, lines, x, sized, inches / (2 if wide else 1) - 0.6)
    for axes in (top, bottom):
        quiet_grid(axes, "y")
        if sized:
            axes.set_xscale("log")
        axes.set_xlim(beside(x, models[0], -5, 1, sized), beside(x, models[-1], 5, 1, sized))
    label = fit(AXES[axis], inches / (2 if wide else 1) - 0.5) if sized else "strong model (sizes unknown)"
    spell = short if axis == "size" else flops_in_words
    _ticks(bottom, x, sized, inches / 2 if wide else inches, spell)
    if wide:
        _ticks(top, x, sized, inches / 2, spell)
        top.set_xlabel(label)
    bottom.set_xlabel(label)
    several = len({e.fields["data"] for e in entries})
    title = heading(entries) + (f"; median over {several} data sets" if several > 1 else "")
    legend_above(figure, handles, columns, title)
    return figure


def places(entries: Sequence[Entry], axis: str) -> tuple[dict[str, float], bool]:
    """Strong model → place on the x axis, and whether the place is a size (or compute) or a rank."""
    models = list(dict.fromkeys(e.fields["strong"] for e in entries))
    measure = flops if axis == "compute" else parameters
    measured: dict[str, float] = {}
    for model in models:
        values = [value for e in entries if e.fields["strong"] == model and (value := measure(e))]
        if values:
            measured[model] = median(values)
    if len(measured) == len(models) and len(set(measured.values())) > 1:
        return measured, True
    ceilings = {
        m: median(
            [e.metrics.get("ceiling", e.metrics["student"])["accuracy"] for e in entries if e.fields["strong"] == m]
        )
        for m in models
    }
    return {m: float(rank) for rank, m in enumerate(sorted(models, key=lambda m: ceilings[m]))}, False


def _first(entries: Sequence[Entry], line: tuple[str, str]) -> int:
    """The order of a line: by weak model, then by setting, as in the results."""
    weak = [e.fields["weak"] for e in entries]
    settings = [student(e, entries) for e in entries]
    return weak.index(line[0]) * len(entries) + settings.index(line[1])


def _styles(lines: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Line → colour and marker of its weak model, line style of its setting. With a single weak model the settings have the colours."""
    weak = list(dict.fromkeys(w for w, _ in lines))
    settings = list(dict.fromkeys(s for _, s in lines))
    styles = {}
    for line in lines:
        place = weak.index(line[0]) if len(weak) > 1 else settings.index(line[1])
        dash = DASHES[settings.index(line[1]) % len(DASHES)]
        filled = settings.index(line[1]) % 2 == 0 or len(weak) == 1
        colour = PALETTE[place % len(PALETTE)]
        styles[line] = {
            "color": colour,
            "marker": SHAPES[place % len(SHAPES)],
            "linestyle": dash,
            "markerfacecolor": colour if filled else "white",
        }
    return styles


def _accuracy(
    axes: "Axes", entries: Sequence[Entry], lines: Sequence[tuple[str, str]], x: dict[str, float], sized: bool
) -> list[Any]:
    """Draw students, ceiling and weak levels; returns the handles of the legend."""
    from matplotlib.lines import Line2D

    single = len({e.fields["data"] for e in entries}) == 1
    handles: list[Any] = []
    levels_drawn: list[float] = []
    bounds: list[float] = []
    drawn: list[tuple[float, Shown, str]] = []
    models = sorted(x, key=lambda model: x[model])
    styles = _styles(lines)
    for number, line in enumerate(lines):
        groups = [_of(entries, line, model) for model in models]
        points = [
            (beside(x, m, number, len(lines), sized), median([e.metrics["student"]["accuracy"] for e in g]), g)
            for m, g in zip(models, groups, strict=True)
            if g
        ]
        axes.plot([p[0] for p in points], [p[1] for p in points], **styles[line], zorder=3)
        levels_drawn += [level for _, level, _ in points]
        for place, level, group in points:
            if single and len(group) == 1:
                interval = group[0].metrics["student"]["interval"]
                bounds += interval
                drawn.append((place, (level, interval), styles[line]["color"]))
                error = spread(interval, level)
                axes.errorbar(place, level, yerr=error, color=styles[line]["color"], elinewidth=0.6, zorder=2)
        name = ", ".join(part for part in _named(line, lines) if part)
        handles.append(Line2D([], [], **styles[line], label=name or "student"))
    for number, weak in enumerate(dict.fromkeys(w for w, _ in lines)):
        levels = _distinct(entries, "weak", lambda e, weak=weak: e.fields["weak"] == weak, ("data",))
        if levels:
            levels_drawn.append(median(levels))
            several = len({w for w, _ in lines}) > 1
            colour = PALETTE[number % len(PALETTE)] if several else "0.35"
            axes.axhline(median(levels), color=colour, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)
    ceilings = [
        (x[m], _distinct(entries, "ceiling", lambda e, m=m: e.fields["strong"] == m, ("data", "train"))) for m in models
    ]
    ceilings = [(place, levels) for place, levels in ceilings if levels]
    if ceilings:
        levels_drawn += [median(levels) for _, levels in ceilings]
        axes.plot(
            [p for p, _ in ceilings], [median(v) for _, v in ceilings], color="0.1", marker="s", markersize=3, zorder=2
        )
        handles.append(Line2D([], [], color="0.1", marker="s", markersize=3, label="strong ceiling"))
    if any("weak" in e.metrics for e in entries):
        handles.append(Line2D([], [], color="0.35", linewidth=0.9, linestyle=(0, (1, 1.5)), label="weak supervisor"))
    room = max(0.4 * (max(levels_drawn) - min(levels_drawn)), 0.03)
    low, high = (
        max(min(levels_drawn) - room, min([*levels_drawn, *bounds])),
        min(max(levels_drawn) + room, max([*levels_drawn, *bounds])),
    )
    axes.set_ylim(low - 0.2 * room, high + 0.2 * room)
    for place, interval_drawn, colour in drawn:
        arrows(axes, place, interval_drawn, colour)
    axes.set_ylabel("test accuracy")
    return handles


def _pgr(
    axes: "Axes",
    entries: Sequence[Entry],
    lines: Sequence[tuple[str, str]],
    x: dict[str, float],
    sized: bool,
    inches: float,
) -> None:
    """Draw PGR of every line; a title of `inches` width counts the figures that are not shown."""
    styles = _styles(lines)
    drawn: list[tuple[float, Shown, str]] = []  # place, PGR with its interval, colour
    absent = 0
    for number, line in enumerate(lines):
        points = []
        for model in sorted(x, key=lambda m: x[m]):
            group = _of(entries, line, model)
            value, interval = shown_pgr(group)
            absent += bool(group) and value is None
            if value is not None:
                points.append((beside(x, model, number, len(lines), sized), value, interval))
        axes.plot([p[0] for p in points], [p[1] for p in points], **styles[line], zorder=3)
        for place, value, interval in points:
            if interval:
                axes.errorbar(place, value, yerr=spread(interval, value), color=styles[line]["color"], elinewidth=0.6)
        drawn += [(place, (value, interval), styles[line]["color"]) for place, value, interval in points]
    for level in (0, 1):
        axes.axhline(level, color="0.5", linewidth=0.6, zorder=1)
    axes.set_ylim(*window([value for _, (value, _), _ in drawn if value is not None]))
    for place, shown, colour in drawn:
        arrows(axes, place, shown, colour)
    axes.set_ylabel("PGR")
    note = fit(left_out(absent, [shown for _, shown, _ in drawn]), inches)
    axes.set_title(note, fontsize=7, color="0.35", pad=5)


def beside(x: dict[str, float], model: str, number: int, count: int, sized: bool) -> float:
    """The place of a line's point: lines are slightly shifted, so that their intervals do not overlap."""
    low, high = min(x.values()), max(x.values())
    part = 0.012 * (number - (count - 1) / 2)
    return float(x[model] * (high / low) ** part) if sized else x[model] + part * (high - low)


def _ticks(axes: "Axes", x: dict[str, float], sized: bool, inches: float, spell: Callable[[float], str]) -> None:
    """Draw a tick for each model with its name and, if known, its size; a name that would touch its neighbour is a line lower."""
    from math import log10

    from matplotlib.ticker import NullLocator

    models = sorted(x, key=lambda model: x[model])
    axes.xaxis.set_minor_locator(NullLocator())
    position = [log10(x[m]) if sized else x[m] for m in models]
    inch = (inches - 0.9) / ((position[-1] - position[0]) or 1)
    labels, ends = [], [-1e9, -1e9, -1e9]
    for model, place in zip(models, position, strict=True):
        text = f"{model}\n{spell(x[model])}" if sized else model
        text = text if len(model) <= LETTERS else text.replace(model, model[: LETTERS - 1] + "…")
        half = max(map(len, text.split("\n"))) / 16 / 2
        row = next((r for r, end in enumerate(ends) if place * inch - half > end + 0.03), None)
        labels.append("" if row is None else "\n" * (row * (text.count("\n") + 1)) + text)
        if row is not None:
            ends[row] = place * inch + half
    axes.set_xticks([x[m] for m in models], labels)
    axes.tick_params(axis="x", length=2.5)


def short(value: float) -> str:
    """Parameters for people: '124M'."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:g}"


def flops_in_words(value: float) -> str:
    """FLOPs for people: '2.1e15'."""
    return f"{value:.1e}".replace("e+", "e")


def _of(entries: Sequence[Entry], line: tuple[str, str], model: str) -> list[Entry]:
    return [e for e in entries if (e.fields["weak"], student(e, entries)) == line and e.fields["strong"] == model]


def _distinct(entries: Sequence[Entry], role: str, keep: Any, fields: tuple[str, ...]) -> list[float]:
    """Accuracies of a role, one for each value of `fields`, since entries that differ only in the loss share their ceiling."""
    levels = {
        tuple(e.fields[f] for f in fields): e.metrics[role]["accuracy"]
        for e in entries
        if role in e.metrics and keep(e)
    }
    return list(levels.values())


def _named(line: tuple[str, str], lines: Sequence[tuple[str, str]]) -> list[str]:
    """The words that distinguish a line from the others."""
    weak, settings = {w for w, _ in lines}, {s for _, s in lines}
    return [
        f"{line[0]} supervises" if len(weak) > 1 and len(settings) == 1 else line[0] if len(weak) > 1 else "",
        line[1] if len(settings) > 1 else "",
    ]
