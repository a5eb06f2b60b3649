"""calibration: reliability of each role's predictions on the test rows, with the number of rows in each bin, and ECE.

* The bins are those of the metrics' ECE (15 of equal width, by the probability of the predicted class); the legend has that ECE.
* The seeds of a setting are pooled. The figure has at most six settings, with a pair of axes for each; all pairs have the same ranges.
"""

from typing import TYPE_CHECKING, Any

from w2s_cli.data.artifacts import PREDICTIONS
from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.style import (
    COLOURS,
    COLUMN_INCHES,
    MARKERS,
    PAGE_INCHES,
    fit,
    legend_of_panel,
    new_figure,
    quiet_grid,
)
from w2s_cli.results.graded_table import only_graded
from w2s_cli.results.reader import Entry, Run
from w2s_cli.results.stages import read_stage
from w2s_cli.results.text_table import number
from w2s_cli.statistics import ROLE_NAMES, ROLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = "Accuracy against the probability of the predicted class; the smaller axes count the rows in each bin."
SETTINGS_SHOWN = 6
ACROSS = 3  # settings side by side on a page
LINES = {"weak": (0, (1, 1)), "student": "-", "ceiling": (0, (4, 1.5))}


def calibration(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError without the predictions of a finished evaluation."""
    drawn = [(entry, predictions(entry)) for entry in run.settings[:SETTINGS_SHOWN]]
    drawn = [(entry, tables) for entry, tables in drawn if tables]
    if not drawn and only_graded(entry.metrics for entry in run.settings):
        raise NoDataError("the results are of graded texts, which have no probabilities: calibration is of classifiers")
    if not drawn:
        raise NoDataError(
            "the evaluations of this run have no predictions.parquet: no calibration to draw; run w2s train again to make them"
        )
    inches = inches or (COLUMN_INCHES if len(drawn) == 1 else PAGE_INCHES)
    across = min(len(drawn), ACROSS if inches > 4 else 1)
    down = -(-len(drawn) // across)
    side = inches / across
    figure = new_figure(inches, down * (min(side, 2.2) + 1.1) + 0.35)
    names = group_names([entry for entry, _ in drawn])
    grid = figure.add_gridspec(2 * down, across, height_ratios=[3, 1] * down)
    classes = max(len(tables[role][0][0]) for _, tables in drawn for role in tables)
    first: tuple[Axes, Axes] | None = None
    lowest = []
    for place, ((entry, tables), name) in enumerate(zip(drawn, names, strict=True)):
        row, column = divmod(place, across)
        upper = figure.add_subplot(grid[2 * row, column], sharey=first[0] if first else None)
        lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper, sharey=first[1] if first else None)
        first = first or (upper, lower)
        lowest.append(_reliability(upper, entry, tables, fit(name, side - 0.7)))
        _counts(lower, tables)
        upper.set_xlim(1 / classes, 1.0)
        upper.tick_params(axis="x", labelbottom=False, length=2.5)
        lower.tick_params(axis="x", length=2.5)
        upper.tick_params(axis="y", labelleft=column == 0)
        lower.tick_params(axis="y", labelleft=column == 0)
        if column == 0:
            upper.set_ylabel("accuracy in the bin")
            lower.set_ylabel("rows")
        if row == down - 1 or place + across >= len(drawn):
            lower.set_xlabel("probability of the predicted class")
    if first:
        first[0].set_ylim(min(lowest), 1.03)
        first[1].set_ylim(0, None)
    count = len(run.settings)
    cut = f"; the first {len(drawn)} of {count} settings" if count > len(drawn) else ""
    figure.suptitle(fit(heading([entry for entry, _ in drawn]) + cut, inches - 0.1), x=0.01, ha="left", fontsize=8)
    return figure


def predictions(entry: Entry) -> dict[str, tuple[Any, Any]]:
    """Role → probabilities [rows, classes] and classes [rows] of an entry's evaluations, with the rows of all seeds."""
    import numpy as np

    from w2s_cli.data.artifacts.predictions import read_predictions
    from w2s_cli.errors import UserError

    stages = [read_stage(entry.run.store, key) for key in entry.evaluations]
    folders = [stage.result for stage in stages if stage.result and stage.has(PREDICTIONS)]
    if not folders:
        return {}
    try:
        _, truth, by_role = read_predictions(folders)
    except UserError:  # a cut-short table
        return {}
    return {role: (one.p.reshape(-1, one.p.shape[-1]), np.tile(truth, len(one.p))) for role, one in by_role.items()}


def reliability(p: Any, truth: Any) -> tuple[Any, Any, Any]:
    """Mean probability of the predicted class, accuracy and number of rows of each bin, [bins]; NaN in an empty bin.

    Args:
        p: [rows, classes].
        truth: [rows].
    """
    import numpy as np

    from w2s_cli.statistics.figures import ECE_BINS, predicted

    confidence = p.max(axis=1)
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    rows = np.bincount(place, minlength=ECE_BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=confidence, minlength=ECE_BINS) / rows
        right = np.bincount(place, weights=predicted(p) == truth, minlength=ECE_BINS) / rows
    return mean, right, rows


def _reliability(axes: "Axes", entry: Entry, tables: dict[str, tuple[Any, Any]], title: str) -> float:
    """The diagram of one setting; returns the least accuracy that its axis needs to have."""
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.7, zorder=1)
    levels: list[float] = []
    for role in ROLES:
        if role not in tables:
            continue
        mean, right, rows = reliability(*tables[role])
        filled = rows > 0
        levels += right[filled].tolist()
        ece = number(entry.metrics.get(role, {}).get("ece"))
        axes.plot(mean[filled], right[filled], color=COLOURS[role], linestyle=LINES[role], linewidth=0.9, zorder=2)
        sizes = 4 + 26 * rows[filled] / rows.max()  # points²: an outlier of two rows stays small
        label = f"{role}: ECE {ece}"
        axes.scatter(
            mean[filled],
            right[filled],
            s=sizes,
            color=COLOURS[role],
            marker=MARKERS[role],
            linewidth=0,
            label=label,
            zorder=3,
        )
    classes = next(iter(tables.values()))[0].shape[1]
    quiet_grid(axes, "both")
    legend = legend_of_panel(axes, title, handletextpad=0.2)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_sizes([16])  # type: ignore[attr-defined]
    return float(max(min([0.96 / classes, *(level - 0.08 for level in levels)]), -0.02))


def _counts(axes: "Axes", tables: dict[str, tuple[Any, Any]]) -> None:
    """The number of rows of each bin."""
    import numpy as np

    for role in ROLES:
        if role in tables:
            _, _, rows = reliability(*tables[role])
            axes.stairs(
                rows,
                np.linspace(0, 1, len(rows) + 1),
                color=COLOURS[role],
                linestyle=LINES[role],
                linewidth=1,
                label=ROLE_NAMES[role],
            )
