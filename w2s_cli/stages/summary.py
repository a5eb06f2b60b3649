"""summary: the runs of several seeds as one result, with intervals over seeds × test rows.

* It reads the tables of the `evaluate` stages, not their metrics, because the rows of all seeds are resampled together.
* Whether each seed drew its own training rows is in the params: with the rows pinned (data.seed) the intervals lack the noise of that draw.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Edge, Spec, Traits
from w2s_cli.stages._cautions import comparison
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 3
TRAITS = Traits(gives="comparison", implied=True)


def plan(job: "Planning", *, seeds: list[int], runs: list[Edge]) -> Spec:
    """The evaluate (or evaluate_texts) stages of all seeds, one per seed, in the order of `seeds`."""
    config = job.config
    params = {"seeds": seeds, "bootstrap": config["bootstrap"], "confidence": config["confidence"]}
    return Spec({**params, "redrawn": config["data"]["seed"] is None}, {"runs": list(runs)})


cautions = comparison


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Return the metrics over all runs; each figure's `per_seed` list is in the order of `seed_list`.

    Args:
        params: seeds (one per run, in order), bootstrap (draws), confidence, redrawn (each seed drew its own training rows).
        inputs: runs (result folders of evaluate stages).

    Raises:
        UserError: runs with different test rows, true labels or roles.
    """
    from w2s_cli.data.artifacts.predictions import read_predictions
    from w2s_cli.statistics.report import report

    fault("summary.start")
    runs = cast(list[Path], inputs["runs"])
    if len(runs) != len(params["seeds"]):
        raise UserError(f"{len(runs)} runs for {len(params['seeds'])} seeds; give one run per seed")
    _, truth, predictions = read_predictions(runs)
    ctx.progress(1, 1, examples=len(truth) * len(runs))
    fault("summary.step")
    settings = {"draws": params["bootstrap"], "confidence": params["confidence"], "redrawn": params["redrawn"]}
    metrics = report(truth, predictions, **settings)
    return {"seed_list": list(params["seeds"]), **metrics}
