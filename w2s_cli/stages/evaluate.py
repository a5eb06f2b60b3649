"""evaluate: compare the roles' predictions on the test rows; arithmetic on files, no model, no torch.

Inputs are the label artifacts of the roles that the method has, and the test rows with the truth. The
result is one table (for later questions, and for `summary`) and the metrics of `w2s_cli.statistics.report`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.context import Context
from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Labels, Pool, Spec, Traits
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 2
TRAITS = Traits(gives="comparison", over_seeds="summary")


def plan(
    job: "Planning",
    *,
    weak: Labels | None = None,
    student: Labels | None = None,
    ceiling: Labels | None = None,
    rows: Pool,
) -> Spec:
    """The roles' predictions against each other and the truth."""
    config, seed = job.config, job.config["seed"]
    params = {"bootstrap": config["bootstrap"], "confidence": config["confidence"]}
    names = [config.plain[group]["name"] for group in ("weak", "strong", "data")]
    inputs = {"weak": weak, "student": student, "ceiling": ceiling, "rows": rows}
    return Spec(params, inputs, slug=f"{'-'.join(names)}-s{seed}", about={"rows": rows.name, "seed": seed})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write rows.parquet and return the metrics.

    Args:
        params: bootstrap (draws), confidence.
        inputs: rows, and at least one of weak, student, ceiling (result folders).

    Raises:
        UserError: inputs whose row ids differ, no rows, or different numbers of classes.
    """
    from w2s_cli.statistics.predictions import check_classes, read_labels, read_truth, write_rows
    from w2s_cli.statistics.report import ROLES, Predictions, report

    fault("evaluate.start")
    sources = {role: cast(Path, inputs[role]) for role in ROLES if role in inputs}
    rows = cast(Path, inputs["rows"])
    ids, truth = read_truth(rows)
    if not ids or not sources:
        raise UserError(f"{rows}: nothing to evaluate; give test rows and at least one of {', '.join(ROLES)}")
    said: dict[str, Predictions] = {}
    for step, (role, folder) in enumerate(sources.items(), start=1):
        said[role] = read_labels(folder, ids)
        ctx.progress(step, len(sources), examples=step * len(ids))
        fault("evaluate.step")
    check_classes(truth, said, sources)
    write_rows(ctx.result / "rows.parquet", ids, truth, said)
    return report(truth, said, draws=params["bootstrap"], confidence=params["confidence"])
