"""import_labels: labels from a file, joined by row id."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from w2s_cli.data.artifacts.labels import read_labels
from w2s_cli.errors import UserError
from w2s_cli.stages.import_labels import run
from w2s_cli.store.context import Context
from w2s_cli.store.files import SEAL, read_json, sha256_file, write_json

IDS = ["c", "a", "b", "d"]
TRUTH = [0, 1, 1, 0]


def labels(
    folder: Path, given: Sequence[dict[str, Any]], *, suffix: str = ".jsonl", classes: Sequence[str] = ("no", "yes")
) -> tuple[Path, dict[str, Any]]:
    """Import `given` for the rows IDS; (result folder, metrics)."""
    rows = folder / "rows"
    rows.mkdir()
    pq.write_table(pa.table({"id": IDS, "label": pa.array(TRUTH, pa.int32())}), rows / "rows.parquet")
    (rows / "manifest.json").write_text(json.dumps({"metrics": {"classes": list(classes)}}))
    path = folder / f"labels{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
    elif suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(given[0]))
            writer.writeheader()
            writer.writerows(given)
    else:
        pq.write_table(pa.Table.from_pylist(list(given)), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ctx = Context(folder, folder, folder, {"labels_path": str(path)})
    return folder, run({"sha256": sha256}, {"rows": rows}, ctx)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("column", "values"),
    [("p", [0.25, 0.9, 0.6, 0.7]), ("p", [[0.75, 0.25], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])],
)
def test_labels_are_joined_by_id_and_become_a_label_artifact(
    tmp_path: Path, suffix: str, column: str, values: list[Any]
) -> None:
    given = [{"id": name, column: value} for name, value in zip(IDS, values, strict=True)]
    folder, metrics = labels(tmp_path, sorted(given, key=lambda row: str(row["id"])), suffix=suffix)
    found = read_labels(folder, IDS)
    np.testing.assert_allclose(found.p[:, 1], [0.25, 0.9, 0.6, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.logits, np.log(found.p), rtol=1e-5)
    assert metrics["accuracy"] == 0.75
    assert pq.read_table(folder / "labels.parquet").schema.field("p").type == pa.list_(pa.float32())


@pytest.mark.parametrize(
    "values", [[0, 1, 1, 1], ["no", "yes", "yes", "yes"], [False, True, True, True], ["0", "1", "1", "1"]]
)
def test_hard_labels_may_be_numbers_or_names(tmp_path: Path, values: list[Any]) -> None:
    folder, metrics = labels(tmp_path, [{"id": name, "label": v} for name, v in zip(IDS, values, strict=True)])
    assert read_labels(folder, IDS).p.argmax(axis=1).tolist() == [0, 1, 1, 1]
    assert np.isfinite(read_labels(folder, IDS).logits).all()
    assert metrics == {"rows": 4, "accuracy": 0.75, "mean_p": [0.25, 0.75]}


def test_columns_beside_id_and_label_do_no_harm(tmp_path: Path) -> None:
    given = [{"id": name, "note": "x", "p": 0.5} for name in IDS]
    assert labels(tmp_path, given)[1]["rows"] == 4


def test_one_file_may_label_the_rows_of_all_pools(tmp_path: Path) -> None:
    given = [{"id": name, "p": 0.5} for name in [*IDS, "of-another-pool"]]
    assert labels(tmp_path, given)[1]["rows"] == 4


def rows_with(name: str, value: Any) -> list[dict[str, Any]]:
    return [{"id": row, name: value if row == "b" else 0} for row in IDS]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"id": name, "p": 0.5} for name in IDS[:2]], r"2 ids are missing \(b, d\).*each of the 4 rows"),
        (
            [{"id": name, "p": 0.5} for name in [*IDS[1:], "z"]],
            r"1 ids are no rows of this pool \(z\); 1 ids are missing \(\w\)",
        ),
        ([{"id": name, "p": 0.5} for name in [*IDS, "a"]], r"1 ids come more than once \(a\)"),
        ([{"row": name, "p": 0.5} for name in IDS], 'no column "id"'),
        ([{"id": name, "q": 0.5} for name in IDS], 'has neither a column "p".*It has id, q'),
        ([{"id": name, "p": 0.5, "label": 1} for name in IDS], "has both"),
        (rows_with("p", float("nan")), 'column "p": nan: a probability lies between 0 and 1'),
        (rows_with("p", 1.5), "between 0 and 1"),
        (rows_with("p", None), "None is no probability"),
        (rows_with("p", "high"), "'high' is no probability"),
        (rows_with("p", [0.5, 0.6]), r"line 3.*: the probabilities add up to 1\.1, not to 1"),
        (rows_with("p", [0.2, 0.3, 0.5]), "3 probabilities for 2 classes"),
        (rows_with("label", 2), "the label 2 is none of the 2 classes"),
        (rows_with("label", "perhaps"), "'perhaps' is none of the 2 classes"),
        (rows_with("label", None), "the label is missing"),
    ],
)
def test_labels_that_do_not_fit_the_rows_are_refused(tmp_path: Path, given: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        labels(tmp_path, given)


def test_one_number_is_not_enough_for_three_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a list of 3 probabilities"):
        labels(tmp_path, [{"id": name, "p": 0.5} for name in IDS], classes=("a", "b", "c"))


def test_a_file_that_changed_after_planning_is_refused_and_the_next_plan_has_its_digest(tmp_path: Path) -> None:
    path, digests = tmp_path / "labels.jsonl", tmp_path / "digests.json"
    path.write_text('{"id": "a", "p": 1}\n')
    right = sha256_file(path, digests)
    write_json(digests, {name: "wrong" for name in read_json(digests) if name != SEAL})  # as of an older w2s
    ctx = Context(tmp_path, tmp_path, tmp_path, {"labels_path": str(path)}, cache=tmp_path)
    with pytest.raises(UserError, match="has changed since this run was planned; run the command again"):
        run({"sha256": sha256_file(path, digests)}, {"rows": tmp_path}, ctx)
    assert sha256_file(path, digests) == right
