"""validate: the scores of a student against weak labels, computed again with NumPy; ground truth and test rows have no part in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from tests.stage_files import context
from tests.unit.stages.test_evaluate import ROWS, write_labels, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import validate


def scores(folder: Path, name: str = "validate", **inputs: Path) -> dict[str, Any]:
    return validate.run({}, dict(inputs), context(folder / name))


def column(folder: Path, name: str) -> np.ndarray:
    return np.array(pq.read_table(folder / "labels.parquet").column(name).to_pylist(), dtype=np.float64)


def test_the_scores_are_those_of_numpy_against_the_weak_labels(tmp_path: Path) -> None:
    student = write_labels(tmp_path / "student", seed=1, knows=1.0)
    weak = write_labels(tmp_path / "weak", seed=2, knows=0.5)
    found = scores(tmp_path, rows=write_rows(tmp_path / "rows"), student=student, labels=weak)
    p, logits, q = column(student, "p"), column(student, "logits"), column(weak, "p")
    classes = q.argmax(1)
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found["rows"] == ROWS
    assert found["accuracy"] == pytest.approx((p.argmax(1) == classes).mean())
    assert found["auroc"] == pytest.approx(roc_auc_score(classes, logits[:, 1] - logits[:, 0]))
    assert found["cross_entropy"] == pytest.approx(-(q * log_softmax).sum(1).mean())


def test_ground_truth_changes_no_score(tmp_path: Path) -> None:
    student, weak = write_labels(tmp_path / "student", seed=1), write_labels(tmp_path / "weak", seed=2)
    rows = write_rows(tmp_path / "rows")
    before = scores(tmp_path, rows=rows, student=student, labels=weak)
    table = pq.read_table(rows / "rows.parquet").to_pydict()
    table["label"] = pa.array([1 - label for label in table["label"]], pa.int32())
    pq.write_table(pa.table(table), rows / "rows.parquet")
    assert scores(tmp_path, "again", rows=rows, student=student, labels=weak) == before


def test_rows_without_a_weak_label_do_not_count(tmp_path: Path) -> None:
    student, weak = write_labels(tmp_path / "student", seed=1), write_labels(tmp_path / "weak", seed=2)
    table = pq.read_table(weak / "labels.parquet")
    covered = np.arange(ROWS) < 40
    pq.write_table(table.append_column("covered", pa.array(covered)), weak / "labels.parquet")
    found = scores(tmp_path, rows=write_rows(tmp_path / "rows"), student=student, labels=weak)
    agree = column(student, "p").argmax(1) == column(weak, "p").argmax(1)
    assert found["rows"] == 40
    assert found["accuracy"] == pytest.approx(agree[:40].mean())
    pq.write_table(table.append_column("covered", pa.array(np.zeros(ROWS, dtype=bool))), weak / "labels.parquet")
    with pytest.raises(UserError, match="no validation row has a weak label"):
        scores(tmp_path, "none", rows=tmp_path / "rows", student=student, labels=weak)


def test_weak_labels_of_one_class_have_no_auroc_and_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows")
    student = write_labels(tmp_path / "student", seed=1)
    one = write_labels(tmp_path / "one", p=np.tile(np.array([0.9, 0.1], dtype=np.float32), (ROWS, 1)), logits=False)
    assert scores(tmp_path, rows=rows, student=student, labels=one)["auroc"] is None
    three = write_labels(tmp_path / "three", seed=2, classes=3)
    with pytest.raises(UserError, match="different numbers of classes"):
        scores(tmp_path, "more", rows=rows, student=student, labels=three)
