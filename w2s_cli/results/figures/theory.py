"""theory: the student's gain over its supervisor against their misfit (Charikar et al. 2024, fig. 2).

* If the student is the best fit of a convex class, the gain is at least the misfit: its point is on or above the diagonal.
* Points come from the `points.parquet` of a theory stage (error_weak, error_student, misfit, gain). Without such a stage each setting
  is a point: its squared misfit and its gain in Brier score on the test rows.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import group_names, heading
from w2s_cli.results.drawing.style import COLUMN_INCHES, PALETTE, SHAPES, legend_above, new_figure, quiet_grid
from w2s_cli.results.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = "Gain of the student over its supervisor against their misfit; points on or above the diagonal agree with the theory."
Points = list[tuple[float, float]]  # misfit, gain
LEAST = 5  # fewer points show nothing of a relation
SHOWN = 6  # largest number of groups with own colours


def theory(run: Run, inches: float | None = None) -> "Figure":
    """The figure; NoDataError with fewer than `LEAST` points."""
    groups = stage_points(run) or result_points(run)
    count = sum(map(len, groups.values()))
    if count < LEAST:
        raise NoDataError(
            f"{count} of the {LEAST} points of misfit and gain that show a relation: this figure needs a theory stage (points.parquet) "
            "or several settings (w2s train -m loss=xent,logconf seed=0,1,2)"
        )
    inches = inches or COLUMN_INCHES
    figure = new_figure(inches, min(inches, 3.0) + 0.1 * len(groups))
    axes = figure.add_subplot()
    handles = []
    for i, (name, points) in enumerate(groups.items()):
        size = 14 if len(points) < 50 else 6
        handles.append(
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                s=size,
                marker=SHAPES[i % len(SHAPES)],
                facecolor=PALETTE[i % len(PALETTE)],
                edgecolor="white",
                linewidth=0.3,
                label=name,
                zorder=3,
            )
        )
    low = min(0.0, *(min(x, y) for points in groups.values() for x, y in points))
    high = max(x for points in groups.values() for x, _ in points) * 1.08
    (line,) = axes.plot([0, high], [0, high], color="0.3", linewidth=0.8, linestyle=(0, (4, 2)), label="gain = misfit")
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.set_xlim(min(low, 0) if low == 0 else min(0.0, *(x for p in groups.values() for x, _ in p)), high)
    quiet_grid(axes, "both")
    axes.tick_params(axis="x", length=2.5)
    axes.locator_params(axis="x", nbins=max(2, int((inches - 0.8) / 0.55)))  # room for labels such as 0.0025
    axes.set_xlabel("misfit: squared distance to the supervisor")
    axes.set_ylabel("gain: supervisor's error minus student's")
    title = heading(run.settings) if run.settings else "misfit and gain"
    legend_above(figure, [*handles, line], 1 if inches < 4 and max(map(len, groups)) > 18 else 2, title)
    return figure


def stage_points(run: Run) -> dict[str, Points]:
    """Stage name → its points, for every finished stage with a points.parquet."""
    points_of: dict[str, Points] = {}
    for stage in run.stages:
        path = stage.result / "points.parquet" if stage.result else None
        if path is None or not path.is_file():
            continue
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path, columns=["misfit", "gain"]).to_pydict()
        except (pa.ArrowException, OSError, KeyError) as error:
            raise NoDataError(f"{path}: the columns misfit and gain cannot be read ({error})") from error
        points = [
            (x, y) for x, y in zip(table["misfit"], table["gain"], strict=True) if x is not None and y is not None
        ]
        points_of.setdefault(stage.name, []).extend(points)
    return points_of


def result_points(run: Run) -> dict[str, Points]:
    """Method, loss and data set → a point for each evaluation of a single seed."""
    entries = [e for e in run.entries if not e.summarises and "misfit" in e.metrics]
    names = group_names(
        [replace(e, fields={**e.fields, "weak": "", "strong": ""}, seeds=[0], stage="", key="") for e in entries]
    )
    points_of: dict[str, Points] = {}
    for name, entry in zip(names, entries, strict=True):
        misfit = entry.metrics["misfit"]
        if misfit["squared"] is not None and misfit["gain"] is not None:
            points_of.setdefault(name.strip() or "runs", []).append((misfit["squared"], misfit["gain"]))
    if len(points_of) > SHOWN:
        return {"runs": [point for points in points_of.values() for point in points]}
    return points_of
