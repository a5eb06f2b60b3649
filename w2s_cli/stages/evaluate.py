"""evaluate: the comparison of the roles' predictions on the test rows; arithmetic on files, no model, no torch.

* Inputs are the labels artifacts of the method's roles, and the test rows with the ground truth.
* The result is one table (for `summary` and for later questions) and the metrics of `w2s_cli.statistics.report`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Labels, Pool, Spec, Traits
from w2s_cli.stages._cautions import comparison
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 3
TRAITS = Traits(gives="comparison", over_seeds="summary")


def plan(
    job: "Planning",
    *,
    weak: Labels | None = None,
    student: Labels | None = None,
    ceiling: Labels | None = None,
    rows: Pool,
) -> Spec:
    """A comparison of the roles' predictions with each other and with the ground truth."""
    config, seed = job.config, job.config["seed"]
    params = {"bootstrap": config["bootstrap"], "confidence": config["confidence"]}
    names = [job.supervisor, *(config.plain[group]["name"] for group in ("strong", "data"))]
    inputs = {"weak": weak, "student": student, "ceiling": ceiling, "rows": rows}
    return Spec(params, inputs, slug=f"{'-'.join(names)}-s{seed}", about={"rows": rows.name, "seed": seed})


cautions = comparison


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write predictions.parquet and return the metrics.

    Args:
        params: bootstrap (draws), confidence.
        inputs: rows, and at least one of weak, student, ceiling (result folders).

    Raises:
        UserError: inputs with different row ids or numbers of classes, or no rows.
    """
    from w2s_cli.data.artifacts.labels import Labels as Labelled
    from w2s_cli.data.artifacts.labels import check_classes, read_labels
    from w2s_cli.data.artifacts.predictions import write_predictions
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.statistics.report import ROLES, report

    fault("evaluate.start")
    sources = {role: cast(Path, inputs[role]) for role in ROLES if role in inputs}
    if not sources:
        raise UserError(
            f"{inputs['rows']}: the stage has no predictions to evaluate; name at least one of {', '.join(ROLES)}"
        )
    rows = read_rows(cast(Path, inputs["rows"]), texts=False)
    labels: dict[str, Labelled] = {}
    for step, (role, folder) in enumerate(sources.items(), start=1):
        labels[role] = read_labels(folder, rows.ids)
        ctx.progress(step, len(sources), examples=step * len(rows.ids))
        fault("evaluate.step")
    check_classes(rows.labels, labels, sources)
    predictions = {role: one_role.as_predictions() for role, one_role in labels.items()}
    write_predictions(ctx.result, rows.ids, rows.labels, predictions)
    return report(rows.labels, predictions, draws=params["bootstrap"], confidence=params["confidence"])
