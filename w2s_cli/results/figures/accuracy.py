"""accuracy: weak supervisor, strong student and ceiling of every setting with their intervals, and PGR.

Up to six settings are bars side by side; more settings are rows, with PGR in a column beside them.
"""

from typing import TYPE_CHECKING

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.bars import bars
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.rows import Series, dots, fitting, height
from w2s_cli.results.drawing.style import COLOURS, MARKERS, PAGE_INCHES, legend_above, new_figure
from w2s_cli.results.reader import Entry, Run
from w2s_cli.results.text_table import pgr_bounds, pgr_value
from w2s_cli.statistics import ROLE_NAMES, ROLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "Accuracy on the test rows of the weak supervisor, the strong student and the ceiling, with intervals, and PGR."
)
BARS_SHOWN = 6
BARS_IN_A_COLUMN = 3


def accuracy(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError without a finished evaluation."""
    entries = [e for e in run.settings if any(role in e.metrics for role in ROLES)]
    if not entries:
        raise NoDataError(
            "no evaluation has finished, so the run has no accuracies to draw; w2s status shows the remaining stages"
        )
    names = group_names(entries)
    if len(entries) <= (BARS_SHOWN if inches in (None, PAGE_INCHES) else BARS_IN_A_COLUMN):
        runs = dict(zip(names, (entry.metrics for entry in entries), strict=True))
        return bars(runs, heading(entries), inches)
    inches = inches or PAGE_INCHES
    row_count = fitting(names, len(ROLES), inches)
    return _rows(entries[:row_count], names[:row_count], inches, len(entries))


def _rows(entries: list[Entry], names: list[str], inches: float, count: int) -> "Figure":
    """A row for each setting."""
    figure = new_figure(inches, height(names, len(ROLES), inches) + 0.95)
    axes = figure.add_subplot()
    series = [
        Series(
            ROLE_NAMES[role] if inches == PAGE_INCHES else role,
            COLOURS[role],
            MARKERS[role],
            [e.metrics.get(role, {}).get("accuracy") for e in entries],
            [e.metrics.get(role, {}).get("interval") for e in entries],
        )
        for role in ROLES
    ]
    handles = dots(axes, names, series, inches)
    cut = f"; the first {len(entries)} of {count} settings" if count > len(entries) else ""
    axes.set_xlabel("test accuracy")
    right = axes.secondary_yaxis("right")
    recovered = [e.metrics.get("pgr") for e in entries]
    wide = inches == PAGE_INCHES
    texts = [
        "" if pgr is None else pgr_value(pgr) + (f"  {pgr_bounds(pgr)}" if wide and pgr["interval"] else "")
        for pgr in recovered
    ]
    right.set_yticks(range(len(entries)), texts)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axes.annotate(
        "PGR",
        (1, 1),
        xycoords="axes fraction",
        xytext=(3.5, 2),
        textcoords="offset points",
        fontweight="bold",
        annotation_clip=False,
    )
    legend_above(figure, handles, 3, heading(entries) + cut)
    return figure
