"""The artifacts that stages hand to each other: what is written is read, joined by id, and anything else is refused with file and row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from w2s_cli.data.artifacts import FEATURES, LABELS, PREDICTIONS, ROWS, WEIGHTS
from w2s_cli.data.artifacts.features import read_features, write_features
from w2s_cli.data.artifacts.labels import Labels, read_labels, write_labels
from w2s_cli.data.artifacts.predictions import read_predictions, write_predictions
from w2s_cli.data.artifacts.rows import read_rows, write_rows
from w2s_cli.data.artifacts.weights import read_weights, write_weights
from w2s_cli.errors import UserError

IDS = ["c", "a", "b", "d"]
TURNED = ["a", "b", "c", "d"]
P = np.array([[0.25, 0.75], [0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])
WORD = {FEATURES: "features of row", LABELS: "row ids", WEIGHTS: "row ids", PREDICTIONS: "row ids"}


def write(folder: Path, name: str, ids: list[str]) -> None:
    """One artifact of so many rows."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(ids)
    if name == ROWS:
        write_rows(folder, ids, ids, [f"text {one}" for one in ids], [number % 2 for number in range(count)])
    elif name == LABELS:
        write_labels(folder, ids, np.resize(P, (count, 2)))
    elif name == FEATURES:
        write_features(folder, ids, np.arange(3 * count, dtype=np.float32).reshape(count, 3))
    elif name == WEIGHTS:
        write_weights(folder, ids, np.arange(count, dtype=np.float64))
    else:
        said = Labels(np.resize(P, (count, 2)), np.zeros((count, 2))).as_predictions()
        write_predictions(folder, ids, np.arange(count) % 2, {"student": said})


@pytest.mark.parametrize("name", [ROWS, LABELS, FEATURES, WEIGHTS, PREDICTIONS])
def test_the_same_values_are_the_same_bytes(tmp_path: Path, name: str) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder, name, IDS)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_values_follow_the_ids_that_are_asked_for(tmp_path: Path) -> None:
    for name in (LABELS, FEATURES, WEIGHTS):
        write(tmp_path, name, IDS)
    order = [1, 2, 0, 3]
    np.testing.assert_allclose(read_labels(tmp_path, TURNED).p, P[order], atol=1e-7)
    assert read_features(tmp_path, TURNED).tolist() == [[3, 4, 5], [6, 7, 8], [0, 1, 2], [9, 10, 11]]
    assert read_weights(tmp_path, TURNED).tolist() == [1, 2, 0, 3]
    assert read_features(tmp_path, ["d"]).tolist() == [[9, 10, 11]]  # features of a pool serve a part of it


def test_predictions_of_several_runs_stand_in_the_order_of_the_first(tmp_path: Path) -> None:
    truth = {name: number % 2 for number, name in enumerate(IDS)}
    for folder, ids in (("one", IDS), ("two", TURNED)):
        (tmp_path / folder).mkdir()
        p = np.array([[IDS.index(name) / 10, 1 - IDS.index(name) / 10] for name in ids])
        said = Labels(p, p, np.array([name != "a" for name in ids]) if folder == "two" else None).as_predictions()
        write_predictions(tmp_path / folder, ids, np.array([truth[name] for name in ids]), {"weak": said})
    ids, classes, by_role = read_predictions([tmp_path / "one", tmp_path / "two"])
    assert (ids, classes.tolist(), list(by_role)) == (IDS, [0, 1, 0, 1], ["weak"])
    np.testing.assert_allclose(by_role["weak"].p[:, :, 0], [[0, 0.1, 0.2, 0.3]] * 2, atol=1e-7)
    assert by_role["weak"].covered is not None
    assert by_role["weak"].covered.tolist() == [[True] * 4, [True, False, True, True]]


def read(folder: Path, name: str) -> Any:
    readers: dict[str, Callable[[], Any]] = {
        ROWS: lambda: read_rows(folder),
        LABELS: lambda: read_labels(folder, IDS),
        FEATURES: lambda: read_features(folder, IDS),
        WEIGHTS: lambda: read_weights(folder, IDS),
        PREDICTIONS: lambda: read_predictions([folder.parent / "whole", folder]),
    }
    return readers[name]()


@pytest.mark.parametrize("name", [LABELS, FEATURES, WEIGHTS, PREDICTIONS])
def test_a_missing_row_is_refused_with_its_id(tmp_path: Path, name: str) -> None:
    write(tmp_path / "whole", name, IDS)
    write(tmp_path / "part", name, IDS[1:])
    with pytest.raises(UserError, match=WORD[name]) as refused:
        read(tmp_path / "part", name)
    assert "c" in str(refused.value).split("(")[0] or "1 missing (first: c)" in str(refused.value)


@pytest.mark.parametrize("name", [ROWS, LABELS, WEIGHTS, PREDICTIONS])
def test_a_repeated_row_a_missing_file_and_a_cut_file_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "whole", name, IDS)
    write(tmp_path / "twice", name, [*IDS, "a"])
    with pytest.raises(UserError, match=r"1 row ids come twice \(first: a\)"):
        read(tmp_path / "twice", name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name} is missing; run the stage that makes it again"):
        read(tmp_path / "empty", name)
    (tmp_path / "empty" / name).write_bytes((tmp_path / "whole" / name).read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "empty", name)


def test_rows_are_read_with_texts_labels_or_both(tmp_path: Path) -> None:
    write(tmp_path, ROWS, IDS)
    both, labels, texts = (
        read_rows(tmp_path),
        read_rows(tmp_path, texts=False),
        read_rows(tmp_path, labels=False),
    )
    assert (both.ids, both.texts, both.labels.tolist()) == (IDS, [f"text {one}" for one in IDS], [0, 1, 0, 1])
    assert (labels.texts, labels.labels.tolist(), labels.classes) == ([], [0, 1, 0, 1], ["0", "1"])
    assert (texts.texts, texts.labels.tolist()) == (both.texts, [])
    write(tmp_path / "none", ROWS, [])
    with pytest.raises(UserError, match="has no rows: raise the limit of its pool"):
        read_rows(tmp_path / "none")


def test_what_stands_in_a_row_without_a_label_is_looked_at_only_where_a_reader_says_so(tmp_path: Path) -> None:
    p = P.copy()
    p[1] = np.nan
    write_labels(tmp_path, IDS, p, p, np.array([True, False, True, True]))
    found = read_labels(tmp_path, IDS, every_row=False)
    assert found.has_label.tolist() == [True, False, True, True]
    with pytest.raises(UserError, match=r"no probabilities: row a has \[nan, nan\]"):
        read_labels(tmp_path, IDS)


@pytest.mark.parametrize(
    ("row", "said"), [([0.5, 0.6], r"row b add up to 1\.1"), ([1.5, -0.5], "no probabilities: row b")]
)
def test_labels_that_are_no_distribution_are_refused_with_the_row(tmp_path: Path, row: list[float], said: str) -> None:
    p = P.copy()
    p[2] = row
    write_labels(tmp_path, IDS, p, P)
    with pytest.raises(UserError, match=said):
        read_labels(tmp_path, IDS, every_row=False)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1, -1, 1, 1], "weight of row a is -1"),
        ([1, 1, np.nan, 1], "weight of row b is nan"),
        ([0] * 4, "all weights are 0"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path: Path, weights: list[float], said: str) -> None:
    pq.write_table(pa.table({"id": IDS, "weight": pa.array(weights, pa.float64())}), tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=said):
        read_weights(tmp_path, IDS)
