"""boost: one round of AdaBoost over weak supervisors (EnsemW2S, Agrawal et al. 2024, arXiv 2410.04571).

* A round is: finetune on weak_train with row weights → label weak_train → boost. The row weights are for the finetune stage of the
  next round. The metric `weight` is the supervisor's weight in the ensemble (combine=weighted).
* K classes by SAMME (Zhu et al. 2009): a = log((1−ε)/ε) + log(K−1), with the weighted error ε. The weights of wrongly predicted
  rows are multiplied by exp(a), then all weights are scaled to mean 1. For two classes this is the paper's rule.
* ε is clipped to [1e-6, 1−1e-6]: a supervisor without an error on its own rows has a large weight, but a finite one.
* A supervisor no better than chance (ε ≥ 1−1/K) has weight 0, and the next round starts from equal weights (`reset`). Its a ≤ 0
  would make rightly predicted rows heavier.
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
EDGE = 1e-6  # smallest ε, and smallest distance of ε to 1


def plan(job: "Planning", *, labels: Labels, rows: Pool, weights: Edge | None = None) -> Spec:
    """Row weights for the next weak supervisor, and the weight of this supervisor; `weights` is the previous round."""
    data, seed = job.config["data"]["name"], job.config["seed"]
    inputs = {"rows": rows, "labels": labels, "weights": weights}
    return Spec({}, inputs, slug=f"{data}-{rows.name}-s{seed}", about={"rows": rows.name, "seed": seed})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write weights.parquet (id; weight: double, mean 1) in the order of the rows.

    Args:
        params: none.
        inputs: rows (with ground truth), labels (of the rows, by this round's supervisor), weights (optional: the folder of the
            previous round; without it this is the first round, and all rows have weight 1).

    Returns:
        rows, weighted_error (ε, clipped), weight (a), accuracy (unweighted), effective_rows ((Σw)²/Σw² of the new weights),
        reset (the supervisor is no better than chance).

    Raises:
        UserError: labels or weights with other row ids, rows without a label, or values that are no weights.
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
            f"{folder / LABELS}: {int((~labels.has_label).sum())} rows have no label; boosting needs a label of the supervisor "
            "for every row"
        )
    previous = inputs.get("weights")
    old_weights = read_weights(cast(Path, previous), rows.ids) if previous else np.ones(len(rows.ids))
    fault("boost.step")
    is_wrong = predicted(labels.p) != rows.labels
    weights, error, weight = boosted(old_weights, is_wrong, labels.p.shape[-1])
    write_weights(ctx.result, rows.ids, weights)
    ctx.progress(1, 1, examples=len(rows.ids))
    return {
        "rows": len(rows.ids),
        "weighted_error": round(error, 10),
        "weight": round(weight, 10),
        "accuracy": round(float(1 - is_wrong.mean()), 10),
        "effective_rows": round(float(weights.sum() ** 2 / (weights**2).sum()), 6),
        "reset": weight == 0.0,
    }


def boosted(weights: "Floats", is_wrong: "Booleans", classes: int) -> tuple["Floats", float, float]:
    """One round of SAMME: the new weights [rows] (mean 1), ε, and a; see the file's docstring.

    Args:
        weights: [rows], row weights of this round's training.
        is_wrong: [rows], whether the supervisor's predicted class is wrong.
        classes: K.
    """
    import numpy as np

    error = float(np.clip(weights[is_wrong].sum() / weights.sum(), EDGE, 1 - EDGE))
    if error >= 1 - 1 / classes:
        return np.ones_like(weights), error, 0.0
    weight = float(np.log((1 - error) / error) + np.log(classes - 1))
    raised = weights * np.where(is_wrong, np.exp(weight), 1.0)
    return np.asarray(raised / raised.mean()), error, weight
