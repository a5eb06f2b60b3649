"""summary_texts: the graded answers of several seeds as one result, with intervals over seeds × test rows (`summary` of classifiers)."""

from pathlib import Path
from typing import Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Traits
from w2s_cli.stages.evaluate_texts import cautions as cautions
from w2s_cli.stages.summary import plan as plan
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json

VERSION = 2
TRAITS = Traits(gives="comparison", implied=True)


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Return the metrics over all runs; each figure's `per_seed` list is in the order of `seed_list`.

    `params`: seeds (one per run, in order), bootstrap, confidence, redrawn. `inputs`: runs (evaluate_texts stages).

    Raises:
        UserError: runs with different rows, roles or floors.
    """
    from w2s_cli.data.artifacts.graded import read_graded_runs
    from w2s_cli.statistics.graded import report

    fault("summary_texts.start")
    runs = cast(list[Path], inputs["runs"])
    if len(runs) != len(params["seeds"]):
        raise UserError(f"{len(runs)} runs for {len(params['seeds'])} seeds; give one run per seed")
    floors = {(read_json(folder / "manifest.json") or {}).get("metrics", {}).get("floor") for folder in runs}
    if len(floors) != 1:
        raise UserError(
            f"the runs count from different floors: {', '.join(map(str, floors))}; summarise runs of one method"
        )
    ids, levels, answers = read_graded_runs(runs)
    ctx.progress(1, 1, examples=len(ids) * len(runs))
    fault("summary_texts.step")
    settings = {"draws": params["bootstrap"], "confidence": params["confidence"], "redrawn": params["redrawn"]}
    return {"seed_list": list(params["seeds"]), **report(answers, levels, floor=str(floors.pop()), **settings)}
