"""theory: gain against misfit on synthetic tasks, by experiment (Charikar et al. 2024; see w2s_cli.statistics.misfit_gain).

* The table has one line per task; the metrics measure the distance of the tasks from the diagonal.
* It takes seconds on a CPU and needs only NumPy.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline.contract import Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.statistics.misfit_gain import Experiment

VERSION = 1
TRAITS = Traits()
TOLERANCE = 0.01  # in units of a task's mean square
ROUNDING = 1e-9  # for bounds that hold with equality


def plan(
    job: "Planning",
    *,
    setting: str,
    representation: str | None = None,
    tasks: int | None = None,
    rows: int | None = None,
    dims: Mapping[str, int] | None = None,
) -> Spec:
    """A synthetic experiment, without a data set or a pretrained model. None: the default of `statistics.misfit_gain.Experiment`."""
    seed = job.config["seed"]
    fields = {"setting": setting, "representation": representation, "tasks": tasks, "rows": rows, "dims": dims}
    params = {name: value for name, value in fields.items() if value is not None}
    return Spec({**params, "seed": seed}, about={"seed": seed})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write points.parquet (task; error_weak, error_student, misfit, gain on held-out rows; misfit_fit, gain_fit, epsilon).

    Args:
        params: setting (realisable or non_realisable), seed; the other fields of `Experiment` by name, its dimensions also as a
            mapping `dims`; tolerance (of the inequality, in units of a task's mean square, 0.01 by default).
        inputs: none.

    Returns:
        tasks, setting; correlation of gain and misfit, slope and intercept of gain on misfit; mean_distance and
        max_distance, |gain − misfit|; share_at_least_misfit, of tasks with gain ≥ misfit − tolerance; max_distance_fit, on
        the student's own rows (0 if realisable), and share_within_bound, of tasks with |gain − misfit| ≤ 2 √(ε misfit) there;
        mean error_weak, error_student, misfit, gain, epsilon.

    Raises:
        UserError: an unknown or missing field, or a value out of range.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from w2s_cli.statistics.misfit_gain import Point, point, representations

    fault("theory.start")
    experiment, tolerance = _experiment(params)
    networks = representations(experiment)
    points = []
    for task in range(experiment.tasks):
        points.append(point(experiment, networks, task))
        ctx.progress(task + 1, experiment.tasks, examples=(task + 1) * experiment.rows)
        fault("theory.step")
    columns: dict[str, Any] = {}
    for field in fields(Point):
        kind = pa.int32() if field.name == "task" else pa.float64()
        columns[field.name] = pa.array([getattr(task_point, field.name) for task_point in points], kind)
    pq.write_table(pa.table(columns), ctx.result / "points.parquet")
    return {
        "setting": experiment.setting,
        "tasks": experiment.tasks,
        **_metrics([asdict(task_point) for task_point in points], tolerance),
    }


def _experiment(params: dict[str, Any]) -> tuple["Experiment", float]:
    from w2s_cli.statistics.misfit_gain import Experiment

    values = {name: value for name, value in params.items() if name != "dims" and value is not None}
    values |= params.get("dims") or {}
    tolerance = values.pop("tolerance", TOLERANCE)
    names = [field.name for field in fields(Experiment)]
    for name in values:
        if name not in names:
            raise UserError(f'theory: unknown field "{name}".{did_you_mean(name, names)}')
    if "setting" not in values:
        raise UserError("theory: the field setting is missing; use realisable or non_realisable.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise UserError(f"theory: tolerance={tolerance} must be a number of at least 0.")
    return Experiment(**values), float(tolerance)


def _metrics(points: list[dict[str, float]], tolerance: float) -> dict[str, Any]:
    import numpy as np

    column = {name: np.array([task_point[name] for task_point in points]) for name in points[0]}
    misfit, gain = column["misfit"], column["gain"]
    distance = np.abs(gain - misfit)
    spread = misfit - misfit.mean()
    varied = float((spread**2).sum()) > 0 and float(gain.std()) > 0
    slope = float((spread * gain).sum() / (spread**2).sum()) if varied else None
    fit = np.abs(column["gain_fit"] - column["misfit_fit"])
    bound = 2 * np.sqrt(column["epsilon"] * column["misfit_fit"])
    metrics = {
        "correlation": float(np.corrcoef(misfit, gain)[0, 1]) if varied else None,
        "slope": slope,
        "intercept": None if slope is None else float(gain.mean() - slope * misfit.mean()),
        "mean_distance": float(distance.mean()),
        "max_distance": float(distance.max()),
        "share_at_least_misfit": float((gain >= misfit - tolerance).mean()),
        "max_distance_fit": float(fit.max()),
        "share_within_bound": float((fit <= bound + ROUNDING).mean()),
        **{name: float(column[name].mean()) for name in ("error_weak", "error_student", "misfit", "gain", "epsilon")},
    }
    return {name: None if value is None else round(value, 10) for name, value in metrics.items()}
