"""Rows of a pool, and what a model is taught about them: ground truth or another model's labels.

Labels are joined to rows by id, never by position. What cannot be a label (NaN, outside [0, 1], not summing to 1, an
unknown class) is refused with the file and the row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from w2s_cli.errors import UserError
from w2s_cli.store.files import read_json


@dataclass(frozen=True)
class Rows:
    """One pool, in its fixed order."""

    path: Path
    ids: list[str]
    texts: list[str]
    labels: np.ndarray  # [rows] ground truth, int
    classes: list[str]  # names


def read_rows(folder: Path) -> Rows:
    """The rows artifact in `folder`; UserError if it is empty or a label is not one of its classes."""
    path = folder / "rows.parquet"
    table = pq.read_table(path, columns=["id", "text", "label"])
    labels = table["label"].to_numpy()
    if table.num_rows == 0:
        raise UserError(f"{path} has no rows: raise the limit of its pool")
    manifest = read_json(folder / "manifest.json") or {}
    names = manifest.get("metrics", {}).get("classes")
    classes = [str(name) for name in names] if names else [str(c) for c in range(int(np.nanmax(labels)) + 1)]
    wrong = np.flatnonzero(~np.isin(labels, np.arange(len(classes))))
    ids = table["id"].to_pylist()
    if len(wrong):
        raise UserError(
            f"{path}: the label of row {ids[wrong[0]]} is {labels[wrong[0]]}, but the classes are 0 to {len(classes) - 1} "
            f"({len(wrong)} such rows)"
        )
    return Rows(path, ids, table["text"].to_pylist(), labels.astype(np.int64), classes)


def targets(rows: Rows, labels: Path | None, kind: str) -> np.ndarray:
    """What to train on, [rows, classes] float32: the label artifact in folder `labels`, or (None) the ground truth.

    kind="hard" replaces probabilities by the one-hot of their largest (the first of equals).

    Raises:
        UserError: ids differ, a label is no distribution over the classes, or hard labels are all of one class.
    """
    count = len(rows.classes)
    if labels is None:
        found, path = np.eye(count, dtype=np.float32)[rows.labels], rows.path
    else:
        path = labels / "labels.parquet"
        found = _probabilities(path, rows, count)
    if kind not in ("soft", "hard"):
        raise UserError(f'labels={kind} is unknown; use "soft" or "hard"')
    hard: np.ndarray = np.eye(count, dtype=np.float32)[found.argmax(1)]
    if (labels is None or kind == "hard") and len(rows.ids) > 1 and len(np.unique(hard.argmax(1))) == 1:
        raise UserError(
            f"{path}: all {len(rows.ids)} labels are class {int(hard[0].argmax())}; there is nothing to learn from them"
        )
    return hard if kind == "hard" else found


def _probabilities(path: Path, rows: Rows, count: int) -> np.ndarray:
    """The p column of a labels file in the order of `rows`, [rows, classes] float32."""
    table = pq.read_table(path, columns=["id", "p"])
    at = {name: row for row, name in enumerate(table["id"].to_pylist())}
    missing = [name for name in rows.ids if name not in at]
    if missing or len(at) != len(rows.ids):
        what = (
            f"no label for row {missing[0]} ({len(missing)} such rows)"
            if missing
            else "labels of rows that are not in the pool"
        )
        raise UserError(f"{path} and {rows.path} are about different rows: {what}")
    lists = table["p"].to_pylist()
    for name in rows.ids:
        p = np.asarray(lists[at[name]], dtype=np.float64)
        if p.shape != (count,):
            raise UserError(f"{path}: row {name} has {p.size} probabilities, but there are {count} classes")
        if not (np.all(p >= 0) and abs(p.sum() - 1) < 1e-3):  # also catches NaN
            raise UserError(f"{path}: the label of row {name} is {p.tolist()}: not probabilities that sum to 1")
    return np.array([lists[at[name]] for name in rows.ids], dtype=np.float32)
