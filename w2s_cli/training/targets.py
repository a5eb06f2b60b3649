"""Training targets of the rows of a pool: ground truth, or another model's labels.

* A row with covered=false has no label: the row is left out of the training, and counted.
* A row of pairs has a first and a second text; class 1 = the second text is preferred (`models/reward.py`).
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
class Targets:
    """What a training learns: rows with one distribution over the classes each."""

    rows: Rows  # the rows with a label
    p: np.ndarray  # [rows, classes] float32
    weights: np.ndarray | None  # [rows] float64: factor of each row's loss
    uncovered: int | None  # rows without a label; None: the labels have no column "covered"


def training_targets(
    rows: Rows, labels: Path | None, form: str, sharpening: float | None = None, weights: Path | None = None
) -> Targets:
    """The targets from the label artifact in folder `labels`, or (None) from the ground truth.

    Args:
        form: "soft": the probabilities. "hard": the one-hot of the largest (of equal ones the first). "sharpened": p^(1/T),
            renormalised, with T = `sharpening`.
        weights: folder of weights.parquet (id, weight), for the same rows.

    Raises:
        UserError: ids differ, a label is no distribution over the classes, no row has a label, or all hard labels are of one class.
    """
    labelled, soft, uncovered = probabilities(rows, labels)
    path = rows.path if labels is None else labels / LABELS
    match form:
        case "soft":
            p = soft
        case "hard":
            p = np.eye(soft.shape[1], dtype=np.float32)[soft.argmax(1)]
        case "sharpened":
            p = sharpened(soft, sharpening)
        case _:
            raise UserError(f'labels={form} is unknown; use "soft", "hard" or "sharpened"')
    classes = soft.argmax(1)
    if (labels is None or form == "hard") and len(rows.ids) > 1 and len(np.unique(classes)) == 1:
        covered = "covered " if uncovered else ""
        raise UserError(
            f"{path}: all {len(labelled.ids)} {covered}labels are class {int(classes[0])}; there is nothing to learn from them"
        )
    factors = None
    if weights is not None:
        place = {name: row for row, name in enumerate(rows.ids)}
        factors = read_weights(weights, rows.ids)[[place[name] for name in labelled.ids]]
        if not factors.any():
            raise UserError(f"{weights / WEIGHTS}: all weights of labelled rows are 0; there is nothing to learn from")
    return Targets(labelled, p, factors, uncovered)


def sharpened(p: np.ndarray, temperature: float | None) -> np.ndarray:
    """p^(1/T) renormalised, [rows, classes] float32; T below 1 moves p towards hard labels, T = 1 changes nothing.

    Raises:
        UserError: no temperature above 0.
    """
    if temperature is None or not temperature > 0:
        raise UserError(
            f"labels=sharpened needs a temperature above 0, and sharpening={temperature}; for 0 use labels=hard"
        )
    exact = p.astype(np.float64)
    powered = (exact / exact.max(1, keepdims=True)) ** (1 / temperature)  # the largest is 1, so nothing overflows
    return (powered / powered.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def probabilities(rows: Rows, labels: Path | None) -> tuple[Rows, np.ndarray, int | None]:
    """The rows with a label, their p [rows, classes] float32, and the number of rows without (None: no column "covered").

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
