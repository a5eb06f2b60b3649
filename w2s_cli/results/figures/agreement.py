"""agreement: the student's agreement with its supervisor, where the supervisor is right and where it is wrong (Burns et al. 2023, fig. 8).

A student that agrees equally often with wrong and right labels imitates; a student that disagrees with wrong labels generalises. The
figures are on test rows, with the intervals of the metrics.
"""

from typing import TYPE_CHECKING

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.rows import Series, dots, fitting, height
from w2s_cli.results.drawing.style import COLUMN_INCHES, legend_above, new_figure
from w2s_cli.results.graded_table import only_graded
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Agreement of the student with its supervisor, where the supervisor is right and where it is wrong."
PARTS = {
    "when_weak_right": ("where the supervisor is right", "#0072B2", "o"),
    "when_weak_wrong": ("where the supervisor is wrong", "#D55E00", "D"),
}


def agreement(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError without the supervisor's predictions of the test rows."""
    entries = [e for e in run.settings if "agreement" in e.metrics]
    if not entries and only_graded(entry.metrics for entry in run.settings):
        raise NoDataError("the results are of graded texts, which have no classes: this agreement is of classifiers")
    if not entries:
        raise NoDataError(
            "the run has no predictions of both supervisor and student on the test rows: no agreement to draw"
        )
    inches = inches or COLUMN_INCHES
    names = group_names(entries) if len(entries) > 1 else ["student"]
    drawn = entries[: fitting(names, len(PARTS), inches)]
    names = names[: len(drawn)]
    figure = new_figure(inches, height(names, len(PARTS), inches) + 1.0)
    axes = figure.add_subplot()
    series = [
        Series(
            label,
            colour,
            marker,
            [e.metrics["agreement"][part]["value"] for e in drawn],
            [e.metrics["agreement"][part]["interval"] for e in drawn],
            hollow=part == "when_weak_wrong",
        )
        for part, (label, colour, marker) in PARTS.items()
    ]
    handles = dots(axes, names, series, inches)
    axes.set_xlabel("agreement with the supervisor")
    cut = f"; the first {len(drawn)} of {len(entries)} settings" if len(drawn) < len(entries) else ""
    legend_above(figure, handles, 2, heading(entries) + cut)
    return figure
