"""boost: one round of AdaBoost over weak supervisors (EnsemW2S, Agrawal et al. 2024, arXiv 2410.04571).

* A round is finetune on weak_train with row weights → label weak_train → boost. Its weights are for the next round's
  finetune, its `weight` for the supervisor's part in the ensemble (combine=weighted).
* K classes by SAMME (Zhu et al. 2009): a = log((1−ε)/ε) + log(K−1), ε the weighted error; rows that the supervisor has
  wrong are multiplied by exp(a); weights have mean 1. For two classes this is the paper's.
* ε is kept in [1e-6, 1−1e-6]: a supervisor without an error on its own rows counts much, but not infinitely.
* A supervisor no better than chance (ε ≥ 1−1/K) has weight 0, and the next round starts from equal weights (`reset`):
  else its a ≤ 0 would make right rows heavier.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.context import Context
from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Edge, Labels, Pool, Spec, Traits
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.statistics.figures import Booleans, Floats

VERSION = 1
TRAITS = Traits(gives="weights")
EDGE = 1e-6  # ε and its distance to 1


def plan(job: "Planning", *, labels: Labels, rows: Pool, weights: Edge | None = None) -> Spec:
    """Row weights for the next weak supervisor, and this one's own weight; `weights` is the round before."""
    data, seed = job.config["data"]["name"], job.config["seed"]
    inputs = {"rows": rows, "labels": labels, "weights": weights}
    return Spec({}, inputs, slug=f"{data}-{rows.name}-s{seed}", about={"rows": rows.name, "seed": seed})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write weights.parquet (id; weight: double, mean 1) in the order of the rows.

    Args:
        params: none.
        inputs: rows (with ground truth), labels (this round's supervisor on them), weights (optional: the folder of the
            round before; without it this is the first one, and all rows weigh 1).

    Returns:
        rows, weighted_error (ε, clipped), weight (a), accuracy (unweighted), effective_rows ((Σw)²/Σw² of the new weights),
        reset (the supervisor is no better than chance).

    Raises:
        UserError: other row ids than the rows', rows without a label, weights that are none.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from w2s_cli.statistics.figures import predicted
    from w2s_cli.statistics.predictions import check_classes, read_labels, read_truth

    fault("boost.start")
    rows, folder = cast(Path, inputs["rows"]), cast(Path, inputs["labels"])
    ids, truth = read_truth(rows)
    labels = read_labels(folder, ids)
    check_classes(truth, {"labels": labels}, {"labels": folder})
    if labels.covered is not None and not labels.covered.all():
        raise UserError(
            f"{folder / 'labels.parquet'}: {int((~labels.covered).sum())} rows have no label; boosting needs the supervisor's "
            "answer on every row"
        )
    before = inputs.get("weights")
    old = _read_weights(cast(Path, before), ids) if before else np.ones(len(ids))
    fault("boost.step")
    wrong = predicted(labels.p[0]) != truth
    weights, error, weight = boosted(old, wrong, labels.p.shape[-1])
    table = {"id": pa.array(ids, pa.string()), "weight": pa.array(weights, pa.float64())}
    pq.write_table(pa.table(table), ctx.result / "weights.parquet")
    ctx.progress(1, 1, examples=len(ids))
    return {
        "rows": len(ids),
        "weighted_error": round(error, 10),
        "weight": round(weight, 10),
        "accuracy": round(float(1 - wrong.mean()), 10),
        "effective_rows": round(float(weights.sum() ** 2 / (weights**2).sum()), 6),
        "reset": weight == 0.0,
    }


def boosted(weights: "Floats", wrong: "Booleans", classes: int) -> tuple["Floats", float, float]:
    """One round: the new weights [rows] (mean 1), ε, and a (SAMME); see the file's docstring.

    Args:
        weights: [rows], of this round's training.
        wrong: [rows], what its supervisor has wrong.
        classes: K.
    """
    import numpy as np

    error = float(np.clip(weights[wrong].sum() / weights.sum(), EDGE, 1 - EDGE))
    if error >= 1 - 1 / classes:
        return np.ones_like(weights), error, 0.0
    weight = float(np.log((1 - error) / error) + np.log(classes - 1))
    grown = weights * np.where(wrong, np.exp(weight), 1.0)
    return np.asarray(grown / grown.mean()), error, weight


def _read_weights(folder: Path, ids: list[str]) -> "Floats":
    """Weights of `ids` by the round before, [rows]."""
    import numpy as np
    import pyarrow.parquet as pq

    path = folder / "weights.parquet"
    if not path.is_file():
        raise UserError(f"{path} is missing; run the stage that makes it again")
    table = pq.read_table(path, columns=["id", "weight"]).to_pydict()
    found = dict(zip(table["id"], table["weight"], strict=True))
    if len(table["id"]) != len(ids) or set(found) != set(ids):
        raise UserError(f"{path} weighs other rows than the {len(ids)} to boost; use rounds over one pool")
    weights = np.array([found[name] for name in ids], dtype=np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise UserError(
            f"{path} has weights that are no numbers ≥ 0, or none above 0; run the stage that makes it again"
        )
    return weights
