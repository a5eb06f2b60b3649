"""levels: accuracy by level of difficulty, of graded answers: weak supervisor, ceiling, further roles, and the student of each setting."""

from typing import TYPE_CHECKING

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.style import (
    COLOURS,
    COLUMN_INCHES,
    DASHES,
    MARKERS,
    PAGE_INCHES,
    SHAPES,
    STUDENTS,
    legend_above,
    new_figure,
    quiet_grid,
)
from w2s_cli.results.graded_table import NAMES
from w2s_cli.results.reader import Entry, Run
from w2s_cli.statistics import ROLE_NAMES
from w2s_cli.statistics.levels import in_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Accuracy on the test rows by their level, of weak supervisor, strong students and ceiling."
STUDENTS_SHOWN = 5  # lines of students


def levels(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError without graded answers of rows with levels."""
    entries = [entry for entry in run.settings if len(entry.metrics.get("levels") or {}) > 1]
    if not entries:
        raise NoDataError("no comparison of graded answers whose rows have levels (data.level)")
    shown = entries[:STUDENTS_SHOWN]
    inches = inches or (PAGE_INCHES if len(shown) > 2 else COLUMN_INCHES)
    figure = new_figure(inches, 2.6 + 0.08 * len(shown))
    axes = figure.add_subplot()
    handles = []
    first = entries[0]
    for number, (role, name) in enumerate(NAMES.items()):
        if role == "student" or not _has(first, role):
            continue
        colour = COLOURS.get(role, "0.45")
        handles += axes.plot(
            *_line(first, role),
            color=colour,
            marker=MARKERS.get(role, "x"),
            linestyle=DASHES[number % len(DASHES)],
            label=name,
        )
    names = group_names(entries)
    for number, (entry, name) in enumerate(zip(shown, names, strict=False)):
        if _has(entry, "student"):
            alone = len(shown) == 1
            handles += axes.plot(
                *_line(entry, "student"),
                color=STUDENTS[number],
                marker=MARKERS["student"] if alone else SHAPES[number],
                zorder=3 - number / 10,  # where lines meet, the method's own comparison is on top
                label=ROLE_NAMES["student"] if alone else f"student: {name}",
            )
    axes.set_xlabel("level")
    axes.set_ylabel("test accuracy")
    axes.set_ylim(-0.02, 1.02)
    quiet_grid(axes, "y")
    cut = f"; the first {len(shown)} of {len(entries)} settings" if len(entries) > len(shown) else ""
    legend_above(figure, handles, 2 if inches == PAGE_INCHES else 1, heading(entries) + cut)
    return figure


def _has(entry: Entry, role: str) -> bool:
    return all(role in figures for figures in entry.metrics["levels"].values())


def _line(entry: Entry, role: str) -> tuple[list[str], list[float]]:
    """Levels, and the role's accuracy on each."""
    of_levels = entry.metrics["levels"]
    names = in_order(of_levels)  # JSON has them in the order of texts
    return names, [of_levels[name][role] for name in names]
