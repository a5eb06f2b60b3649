"""datasets: bars of each data set with intervals, and PGR beside them.

* A data set has one bar for the weak supervisor, one for the ceiling, and one for the student of each method and loss.
* With several pairs of models on a data set a bar is the median over the pairs. It has no interval, since the stored intervals are not
  those of a median.
* The bars of a data set begin at the share of its largest class, or all at 0 (`w2s_cli.results.drawing.base`).
* `w2s_cli.results.drawing.pgr` has the rules for PGR and its axis.
"""

from typing import TYPE_CHECKING, Any

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.base import CHANCE, ZERO, axis_label, base, largest_class
from w2s_cli.results.drawing.names import heading, student
from w2s_cli.results.drawing.pgr import arrows, left_out, shown_pgr, window
from w2s_cli.results.drawing.rows import Series, bars, dots, height
from w2s_cli.results.drawing.style import (
    COLOURS,
    COLUMN_INCHES,
    ROWS_SHOWN,
    SHAPES,
    STUDENTS,
    fit,
    legend_above,
    new_figure,
)
from w2s_cli.results.reader import Entry, Run
from w2s_cli.statistics import ROLE_NAMES, ROLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Accuracy on each data set, with PGR beside it."
WIDE = True  # on the HTML page it has the width of the page
HATCHES = ("", "////", "....", "xxxx", "||||", "\\\\\\\\")


def datasets(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError for fewer than two data sets."""
    entries = [e for e in run.settings if "student" in e.metrics]
    all_names = list(dict.fromkeys(e.fields["data"] for e in entries))
    names = all_names[:ROWS_SHOWN]
    if len(names) < 2:
        raise NoDataError(
            f"the run has {'one data set' if names else 'no results'}, and this figure compares several: those of a sweep over data="
        )
    inches = inches or COLUMN_INCHES
    all_students = list(dict.fromkeys(student(e, entries) for e in entries))
    settings = all_students[: len(HATCHES)]
    groups = {
        (d, s): [e for e in entries if e.fields["data"] == d and student(e, entries) == s]
        for d in names
        for s in settings
    }
    levels = _levels(names, settings, entries, groups)
    shares = [next(largest_class(e.metrics) for e in entries if e.fields["data"] == name) for name in names]
    drawn = [(value, shares[row]) for one in levels for row, value in enumerate(one.values) if value is not None]
    begin = base(drawn)
    floors = shares if begin == CHANCE else [0.0] * len(names)
    ends = [level for one in drawn for level in one]
    ends += [bound for one in levels for interval in one.intervals if interval for bound in interval]

    figure = new_figure(inches, height(names, len(levels), inches) * 1.1 + 0.95 + 0.12 * ((len(levels) + 1) // 2))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    handles = bars(left, names, levels, inches, floors)
    for row, level in enumerate(shares):
        (line,) = left.plot(
            [level, level], [row - 0.46, row + 0.46], color="0.35", linestyle=(0, (3, 1.5)), linewidth=0.8
        )
    line.set_label("largest class")
    left.set_xlim(0.0 if begin == ZERO else min(ends) - 0.01, max(ends) + 0.02)
    left.set_xlabel(fit(axis_label(begin, shares), 0.45 * inches - 0.3))
    pgr = [[shown_pgr(groups[name, setting]) for name in names] for setting in settings]
    ratios = [
        Series(one, STUDENTS[i], SHAPES[i], [v for v, _ in pgr[i]], [b for _, b in pgr[i]])
        for i, one in enumerate(settings)
    ]
    dots(right, names, ratios, inches)
    right.tick_params(axis="y", labelleft=False)
    right.axvline(0, color="0.6", linewidth=0.6)
    right.axvline(1, color="0.6", linewidth=0.6)
    values = [value for series in ratios for value in series.values if value is not None]
    right.set_xlim(*window(values))
    step = 1 / (len(ratios) + 0.9)
    for i, series in enumerate(pgr):
        for row, one in enumerate(series):
            arrows(right, row + (i - (len(pgr) - 1) / 2) * step, one, STUDENTS[i], across=True)
    right.set_xlabel("PGR")
    absent = sum(len(group) > 0 for group in groups.values()) - len(values)
    several = any(len(group) > 1 for group in groups.values())
    title = heading(entries) + ("; median over pairs of models" if several else "")
    title += f"; the first {len(names)} of {len(all_names)} data sets" if len(all_names) > len(names) else ""
    title += f"; the first {len(settings)} of {len(all_students)} students" if len(all_students) > len(settings) else ""
    note = left_out(absent, [one for series in pgr for one in series])
    title += f"; PGR: {note}" if note else ""
    legend_above(figure, [*handles, line], 2 if inches < 4 else 4, title)
    return figure


def _levels(
    names: list[str], settings: list[str], entries: list[Entry], groups: dict[Any, list[Entry]]
) -> list[Series]:
    """The bars: weak supervisor, students, ceiling."""
    groups_of_data = [[e for e in entries if e.fields["data"] == name] for name in names]
    series = []
    for role in ROLES:
        if role == "student":
            for i, one in enumerate(settings):
                label = ROLE_NAMES[role] if len(settings) == 1 else f"student, {one}"
                series.append(
                    Series(label, STUDENTS[i], HATCHES[i], *_accuracies([groups[d, one] for d in names], role))
                )
        elif any(role in e.metrics for e in entries):
            series.append(Series(ROLE_NAMES[role], COLOURS[role], "", *_accuracies(groups_of_data, role)))
    return series


def _accuracies(groups: list[list[Entry]], role: str) -> tuple[list[float | None], list[Any]]:
    """Median accuracy of each group, and its interval where the group is one pair of models."""
    from statistics import median

    values: list[float | None] = []
    intervals = []
    for group in groups:
        blocks = {(e.fields["weak"], e.fields["strong"]): e.metrics[role] for e in group if role in e.metrics}
        values.append(median(block["accuracy"] for block in blocks.values()) if blocks else None)
        intervals.append(next(iter(blocks.values()))["interval"] if len(blocks) == 1 else None)
    return values, intervals
