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

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Edge, Labels, Pool, Spec, Traits
from w2s_cli.store.context import Context
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

    from w2s_cli.data.artifacts import LABELS
    from w2s_cli.data.artifacts.labels import check_classes, read_labels
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.data.artifacts.weights import read_weights, write_weights
    from w2s_cli.statistics.figures import predicted

    fault("boost.start")
    rows, folder = read_rows(cast(Path, inputs["rows"]), texts=False), cast(Path, inputs["labels"])
    labels = read_labels(folder, rows.ids)
    check_classes(rows.labels, {"labels": labels}, {"labels": folder})
    if not labels.has_label.all():
        raise UserError(
            f"{folder / LABELS}: {int((~labels.has_label).sum())} rows have no label; boosting needs the supervisor's "
            "answer on every row"
        )
    before = inputs.get("weights")
    old = read_weights(cast(Path, before), rows.ids) if before else np.ones(len(rows.ids))
    fault("boost.step")
    wrong = predicted(labels.p) != rows.labels
    weights, error, weight = boosted(old, wrong, labels.p.shape[-1])
    write_weights(ctx.result, rows.ids, weights)
    ctx.progress(1, 1, examples=len(rows.ids))
    return {
        "rows": len(rows.ids),
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
