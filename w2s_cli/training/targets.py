"""The rows of a pool and their training targets: ground truth, or another model's labels.

* Labels are joined to rows by id, never by position. An impossible label (NaN, outside [0, 1], not summing to 1, an unknown class)
  is refused; the message names the file and the row.
* A row with covered=false has no label: the row is left out of the training, and counted.
* A row of pairs has a first and a second text; class 1 = the second text is preferred (`models/reward.py`).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from w2s_cli.errors import UserError
from w2s_cli.store.files import read_json

REWARD = "reward"  # the one output of a model for pairs


@dataclass(frozen=True)
class Rows:
    """One pool, in its fixed order."""

    path: Path
    ids: list[str]
    texts: list[str]
    labels: np.ndarray  # [rows] ground truth, int
    classes: list[str]  # names
    second: list[str] | None = None  # of pairs: the second text; `texts` holds the first

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of a model for these rows: the classes, or of pairs the reward."""
        return [REWARD] if self.second is not None else self.classes

    def only(self, chosen: np.ndarray) -> "Rows":
        """The rows where `chosen` [rows] is true."""
        at = np.flatnonzero(chosen)
        ids, texts = [self.ids[row] for row in at], [self.texts[row] for row in at]
        second = None if self.second is None else [self.second[row] for row in at]
        return replace(self, ids=ids, texts=texts, labels=self.labels[at], second=second)


@dataclass(frozen=True)
class Targets:
    """What a training learns: rows with one distribution over the classes each."""

    rows: Rows  # the rows with a label
    p: np.ndarray  # [rows, classes] float32
    weights: np.ndarray | None  # [rows] float64: factor of each row's loss
    uncovered: int | None  # rows without a label; None: the labels have no column "covered"


def read_rows(folder: Path) -> Rows:
    """The rows artifact in `folder`; UserError if it is empty, a label is not one of its classes, or pairs have not two classes."""
    path = folder / "rows.parquet"
    paired = "second" in pq.read_schema(path).names
    table = pq.read_table(path, columns=["id", "text", "label", *(["second"] if paired else [])])
    labels = table["label"].to_numpy()
    if table.num_rows == 0:
        raise UserError(f"{path} has no rows: raise the limit of its pool")
    manifest = read_json(folder / "manifest.json") or {}
    names = manifest.get("metrics", {}).get("classes")
    count = 2 if paired else int(np.nanmax(labels)) + 1
    classes = [str(name) for name in names] if names else [str(c) for c in range(count)]
    if paired and len(classes) != 2:
        raise UserError(f"{path} holds pairs, whose classes are two (first or second preferred), and names {classes}")
    wrong = np.flatnonzero(~np.isin(labels, np.arange(len(classes))))
    ids = table["id"].to_pylist()
    if len(wrong):
        raise UserError(
            f"{path}: the label of row {ids[wrong[0]]} is {labels[wrong[0]]}, but the classes are 0 to {len(classes) - 1} "
            f"({len(wrong)} such rows)"
        )
    second = table["second"].to_pylist() if paired else None
    return Rows(path, ids, table["text"].to_pylist(), labels.astype(np.int64), classes, second)


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
    path = rows.path if labels is None else labels / "labels.parquet"
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
        factors = _weights(weights / "weights.parquet", rows)[[place[name] for name in labelled.ids]]
        if not factors.any():
            raise UserError(f"{weights / 'weights.parquet'}: all weights are 0; there is nothing to learn from")
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
    path = labels / "labels.parquet"
    partial = "covered" in pq.read_schema(path).names
    table = pq.read_table(path, columns=["id", "p", *(["covered"] if partial else [])])
    at = _joined(table["id"].to_pylist(), rows, path, "label")
    covered = table["covered"].to_numpy(zero_copy_only=False).astype(bool)[at] if partial else np.ones(len(at), bool)
    if not covered.any():
        raise UserError(
            f"{path}: none of its {len(at)} rows is covered, so there is nothing to learn from; keep more of them"
        )
    used = rows.only(covered) if partial else rows
    lists = table["p"].to_pylist()
    chosen = [lists[row] for row in at[covered]]
    for name, values in zip(used.ids, chosen, strict=True):
        p = np.asarray(values, dtype=np.float64)
        if p.shape != (count,):
            raise UserError(f"{path}: row {name} has {p.size} probabilities, but there are {count} classes")
        if not (np.all(p >= 0) and abs(p.sum() - 1) < 1e-3):  # also catches NaN
            raise UserError(f"{path}: the label of row {name} is {p.tolist()}: not probabilities that sum to 1")
    return used, np.array(chosen, dtype=np.float32), int((~covered).sum()) if partial else None


def _weights(path: Path, rows: Rows) -> np.ndarray:
    """The weights of all `rows`, in their order: [rows] float64."""
    table = pq.read_table(path, columns=["id", "weight"])
    at = _joined(table["id"].to_pylist(), rows, path, "weight")
    weights: np.ndarray = table["weight"].to_numpy(zero_copy_only=False).astype(np.float64)[at]
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise UserError(
            f"{path}: the weight of row {rows.ids[wrong[0]]} is {weights[wrong[0]]}: it must be a number from 0 up"
        )
    return weights


def _joined(ids: list[str], rows: Rows, path: Path, what: str) -> np.ndarray:
    """The place of each of `rows` among the `ids` of a file, [rows]; UserError unless both hold the same ids."""
    at = {name: row for row, name in enumerate(ids)}
    missing = [name for name in rows.ids if name not in at]
    if missing or len(at) != len(rows.ids):
        problem = (
            f"no {what} for row {missing[0]} ({len(missing)} such rows)"
            if missing
            else f"{what}s of rows that are not in the pool"
        )
        raise UserError(f"{path} and {rows.path} are about different rows: {problem}")
    return np.array([at[name] for name in rows.ids])
