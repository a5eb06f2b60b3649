"""validate: the score of a trial of a search, the student's predictions on validation rows against the labels of its supervisor.

* Ground truth is not read: a weak-to-strong experiment does not have it, and a setting that is chosen by it would be better than any that
  could be chosen without. Test rows are not read either.
* All scores are computed, so one stage serves a search by any of them.
* Rows that the supervisor leaves without a label do not count.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Labels, Pool, Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="score")


def plan(job: "Planning", *, student: Labels, labels: Labels, rows: Pool) -> Spec:
    """The agreement of two stages with labels of the same rows; `labels` are those of the supervisor."""
    data, seed = job.config["data"]["name"], job.config["seed"]
    return Spec(
        {},
        {"student": student, "labels": labels, "rows": rows},
        slug=f"{job.config.plain['strong']['name']}-{data}-{rows.name}-s{seed}",
        about={"rows": rows.name, "seed": seed},
        words=["against the weak labels"],
    )


def run(params: Mapping[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Return the scores; there is no artifact.

    Args:
        params: none.
        inputs: student and labels (result folders with labels.parquet), rows.

    Returns:
        rows (with a weak label), and of the student against the weak labels: accuracy (against their class), auroc (the same; None where
        all weak labels are of one class), cross_entropy (−Σ_c weak_c log student_c, the mean over rows, in nats).

    Raises:
        UserError: labels of other rows or another number of classes, or no row with a weak label.
    """
    from w2s_cli.data.artifacts.labels import check_classes, read_labels
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.statistics.figures import accuracy, as_json, auroc, predicted, soft_cross_entropy

    fault("validate.start")
    folders = cast(dict[str, Path], inputs)
    ids = read_rows(folders["rows"], texts=False).ids
    student, weak = read_labels(folders["student"], ids), read_labels(folders["labels"], ids)
    labelled = weak.has_label  # [rows]
    if not labelled.any():
        raise UserError(f"{folders['labels']}: no validation row has a weak label")
    classes = predicted(weak.p[labelled])  # [labelled rows]
    check_classes(
        classes, {"student": student, "labels": weak}, {"student": folders["student"], "labels": folders["labels"]}
    )
    p, logits = student.p[labelled], student.logits[labelled]
    ctx.progress(len(classes), len(classes), examples=len(classes))
    fault("validate.step")
    scores: dict[str, Any] = as_json(
        {
            "rows": len(classes),
            "accuracy": accuracy(p, classes),
            "auroc": auroc(logits, classes),
            "cross_entropy": soft_cross_entropy(logits, weak.p[labelled]),
        }
    )
    return scores
