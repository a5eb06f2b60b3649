"""delta_theory: delta learning in logistic regression, for several pairs of teachers (Geng et al. 2025; see w2s_cli.statistics.delta).

The claim: an update helps iff the chosen teacher is the better one, even if both are worse than the student. It takes seconds on a CPU and
needs only NumPy.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, MinLen

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Spec, Traits
from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits()
NOTICED = 1e-3  # of accuracy; a random direction has by chance a little of the truth in it


def plan(
    job: "Planning",
    *,
    pairs: Annotated[list[list[float]], MinLen(1)],
    student: float = 0.5,
    dims: Annotated[int, Ge(4)] = 200,
    rows: Annotated[int, Ge(1)] = 8000,
    repeats: Annotated[int, Ge(1)] = 5,
) -> Spec:
    """Outcomes for pairs of teachers.

    Args:
        pairs: cosines of the chosen and the rejected teacher to the truth.
        student: cosine of the student's start.
        dims, rows: of the inputs.
        repeats: draws of each setting, of which the mean is reported.
    """
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f'stage "{job.stage}": pairs={pairs}: each pair is two cosines, [chosen, rejected].')
    params = {
        "pairs": [list(pair) for pair in pairs],
        "student": student,
        "dims": dims,
        "rows": rows,
        "repeats": repeats,
    }
    return Spec({**params, "seed": job.config["seed"]}, about={"seed": job.config["seed"]})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write deltas.parquet (better, worse, repeat, and the fields of `statistics.delta.Outcome`).

    Returns:
        sign_agrees: share of the pairs whose best update helps iff the chosen teacher is the better one; and by pair the means.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from w2s_cli.statistics.delta import Setting, outcome

    fault("delta_theory.start")
    lines: list[dict[str, float]] = []
    total = len(params["pairs"]) * params["repeats"]
    for better, worse in params["pairs"]:
        for repeat in range(params["repeats"]):
            if ctx.stop_requested():
                raise Stopped
            seed = params["seed"] * params["repeats"] + repeat
            setting = Setting(better, worse, params["student"], params["dims"], params["rows"], seed=seed)
            lines.append({"better": better, "worse": worse, "repeat": repeat, **asdict(outcome(setting))})
            ctx.progress(len(lines), total, examples=len(lines))
            fault("delta_theory.step")
    pq.write_table(pa.Table.from_pylist(lines), ctx.result / "deltas.parquet")
    means: dict[str, dict[str, float]] = {}
    agreed = []
    for better, worse in params["pairs"]:
        own = [line for line in lines if (line["better"], line["worse"]) == (better, worse)]
        mean = {
            name: float(np.mean([line[name] for line in own]))
            for name in ("start", "teacher", "best", "far", "imitation")
        }
        means[f"{better:g} over {worse:g}"] = {name: round(value, 10) for name, value in mean.items()}
        agreed.append((mean["best"] - mean["start"] > NOTICED) == (better > worse))
    return {"settings": total, "sign_agrees": float(np.mean(agreed)), "pairs": means}
