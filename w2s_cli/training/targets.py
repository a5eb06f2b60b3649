"""What a model is taught about the rows of a pool: ground truth or another model's labels.

* A row whose label says covered=false has none: it is left out, and counted.
* Pairs are rows of two texts, with class 1 = the second is preferred. Their model has one output, the reward r of a text; its
  two class logits are [r(text), r(second)], so P(class 1) = sigmoid(r(second) - r(text)) (Bradley-Terry).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2s_cli.data.artifacts import LABELS, WEIGHTS
from w2s_cli.data.artifacts.labels import read_labels
from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.data.artifacts.weights import read_weights
from w2s_cli.errors import UserError


@dataclass(frozen=True)
class Lesson:
    """What a training sees."""

    rows: Rows  # those that have a label
    targets: np.ndarray  # [rows, classes] float32
    weights: np.ndarray | None  # [rows] float64: factors of each row's loss
    uncovered: int | None  # rows left out; None: the labels say nothing of coverage


def check_outputs(outputs: int, rows: Rows, folder: Path) -> None:
    """Refuse a model with `outputs` outputs, from `folder`, for rows of the other form: pairs, or single texts."""
    if rows.second is not None and outputs != 1:
        raise UserError(
            f"{folder} is a classifier of {outputs} classes, and {rows.path} holds pairs of texts: "
            "use a reward model, which is a model that was trained on pairs"
        )
    if rows.second is None and outputs == 1:
        raise UserError(
            f"{folder} is a reward model, trained on pairs of texts, and {rows.path} holds single texts: "
            "use a classifier that was trained on such rows, or a data set of pairs"
        )


def lesson(
    rows: Rows, labels: Path | None, form: str, sharpening: float | None = None, weights: Path | None = None
) -> Lesson:
    """What to train on: the label artifact in folder `labels`, or (None) the ground truth.

    Args:
        form: "soft": the probabilities. "hard": the one-hot of the largest (the first of equals). "sharpened": p^(1/T),
            renormalised, with T = `sharpening`.
        weights: folder of weights.parquet (id, weight), for the same rows.

    Raises:
        UserError: ids differ, a label is no distribution over the classes, none is covered, or hard labels are all of one class.
    """
    used, found, uncovered = probabilities(rows, labels)
    path = rows.path if labels is None else labels / LABELS
    match form:
        case "soft":
            taught = found
        case "hard":
            taught = np.eye(found.shape[1], dtype=np.float32)[found.argmax(1)]
        case "sharpened":
            taught = sharpened(found, sharpening)
        case _:
            raise UserError(f'labels={form} is unknown; use "soft", "hard" or "sharpened"')
    classes = found.argmax(1)
    if (labels is None or form == "hard") and len(rows.ids) > 1 and len(np.unique(classes)) == 1:
        covered = "covered " if uncovered else ""
        raise UserError(
            f"{path}: all {len(used.ids)} {covered}labels are class {int(classes[0])}; there is nothing to learn from them"
        )
    kept = None
    if weights is not None:
        at = {name: row for row, name in enumerate(rows.ids)}
        kept = read_weights(weights, rows.ids)[[at[name] for name in used.ids]]
        if not kept.any():
            raise UserError(f"{weights / WEIGHTS}: all weights of labelled rows are 0; there is nothing to learn from")
    return Lesson(used, taught, kept, uncovered)


def sharpened(p: np.ndarray, temperature: float | None) -> np.ndarray:
    """p^(1/T) renormalised, [rows, classes] float32; T below 1 moves towards hard labels, T = 1 changes nothing.

    Raises:
        UserError: no temperature, or one that is not above 0.
    """
    if temperature is None or not temperature > 0:
        raise UserError(
            f"labels=sharpened needs a temperature above 0, and sharpening={temperature}; for 0 use labels=hard"
        )
    exact = p.astype(np.float64)
    powered = (exact / exact.max(1, keepdims=True)) ** (1 / temperature)  # the largest stays 1, so nothing overflows
    return (powered / powered.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def probabilities(rows: Rows, labels: Path | None) -> tuple[Rows, np.ndarray, int | None]:
    """The rows that have a label, their p [rows, classes] float32, and how many have none (None: the labels do not say).

    Without `labels`: the one-hot ground truth of all rows.
    """
    count = len(rows.classes)
    if labels is None:
        return rows, np.eye(count, dtype=np.float32)[rows.labels], None
    path = labels / LABELS
    stored = read_labels(labels, rows.ids, every_row=False)
    if stored.p.shape[1] != count:
        raise UserError(f"{path}: its rows have {stored.p.shape[1]} probabilities, but there are {count} classes")
    covered = stored.has_label
    if not covered.any():
        raise UserError(
            f"{path}: none of its {len(covered)} rows is covered, so there is nothing to learn from; keep more of them"
        )
    p = stored.p.astype(np.float32)
    if stored.covered is None:
        return rows, p, None
    return rows.only(covered), p[covered], int((~covered).sum())
