"""Bad rows of a file: each is named by its line in the file, all of them are counted, and a stray label does not become a class."""

import bz2
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data_sets import local, make, numbered, write_rows
from w2s_cli.data.read import read
from w2s_cli.data.sources import local_files
from w2s_cli.errors import UserError

ALL = {"weak_train": 1.0}


def refusal(folder: Path, data: dict[str, Any]) -> str:
    """The message that refuses the data."""
    with pytest.raises(UserError) as refused:
        make(folder / "rows", data, "weak_train")
    return str(refused.value)


def test_all_bad_labels_are_counted_with_their_lines_in_a_file_with_empty_lines(tmp_path: Path) -> None:
    rows = numbered(60, label=lambda i: None if i in (3, 7) else i % 2)
    (tmp_path / "a.jsonl").write_text("\n" + "".join(json.dumps(row) + "\n\n" for row in rows))  # row i on line 2i + 2
    said = refusal(tmp_path, local(tmp_path / "a.jsonl", pools=ALL))
    assert said.startswith(f'{tmp_path}/a.jsonl, line 8, column "label": the label is missing')
    assert said.endswith("2 rows have such a value: 8, 16.")


@pytest.mark.parametrize("classes", [None, ["0", "1"]])
def test_the_lines_of_a_csv_file_count_those_inside_of_quoted_cells(tmp_path: Path, classes: list[str] | None) -> None:
    cells = [f'"two\nlines {i}",{"" if i in (1, 4) else i % 2}\n' for i in range(60)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(cells))  # row i begins on line 2i + 2
    said = refusal(tmp_path, local(tmp_path / "a.csv", pools=ALL, classes=classes))
    assert f"{tmp_path}/a.csv, line 4" in said
    assert "2 rows have such a value: 4, 10." in said


def test_a_missing_id_and_rows_of_a_table_are_named_from_one(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(numbered(3)), tmp_path / "a.parquet")
    rows = read(local_files(tmp_path / "a.parquet", {"train": "train"})["train"])
    assert rows.place(2) == f"{tmp_path}/a.parquet, row 3"
    missing = numbered(60, id=lambda i: float("nan") if i == 5 else str(i))
    write_rows(tmp_path / "b.jsonl", missing)
    assert 'b.jsonl, line 6, column "id": the id is missing' in refusal(
        tmp_path, local(tmp_path / "b.jsonl", pools=ALL, id="id")
    )


def test_one_stray_label_is_refused_unless_the_classes_name_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", numbered(250, label=lambda i: "maybe" if i == 16 else ("yes", "no")[i % 2]))
    said = refusal(tmp_path, local(tmp_path / "a.jsonl", pools=ALL))
    assert 'a.jsonl, line 17, column "label": only 1 of the 250 rows has the label "maybe"' in said
    assert "data.classes=[maybe,no,yes]" in said
    named = local(tmp_path / "a.jsonl", pools=ALL, classes=["maybe", "no", "yes"])
    _, metrics = make(tmp_path / "named", named, "weak_train")
    assert metrics["classes"] == ["maybe", "no", "yes"]


def test_a_file_in_another_packing_is_named_as_it_is(tmp_path: Path) -> None:
    plain = "".join(json.dumps(row) + "\n" for row in numbered(40)).encode()
    (tmp_path / "gzip.jsonl").write_bytes(gzip.compress(plain))
    (tmp_path / "bzip2.jsonl").write_bytes(bz2.compress(plain))
    with zipfile.ZipFile(tmp_path / "zip.jsonl", "w") as archive:
        archive.writestr("a.jsonl", plain)
    for name in ("gzip", "bzip2", "zip"):
        said = refusal(tmp_path, local(tmp_path / f"{name}.jsonl", pools=ALL))
        assert f"{name}.jsonl is a {name} file: unpack it" in said
        assert "latin1" not in said


def test_text_of_a_parquet_file_that_is_not_utf8_is_refused_with_the_text(tmp_path: Path) -> None:
    texts = [f"text {i}".encode() for i in range(60)]
    texts[3] = b"\xff\xfe bad"
    plain = pa.Array.from_buffers(pa.string(), 60, pa.array(texts, pa.binary()).buffers())
    pq.write_table(pa.table({"text": plain, "label": [i % 2 for i in range(60)]}), tmp_path / "a.parquet")
    assert r"a text is not UTF-8, b'\xff\xfe bad'" in refusal(tmp_path, local(tmp_path / "a.parquet", pools=ALL))
