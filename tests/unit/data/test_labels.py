"""Labels of data, of files of labels and of `data.classes`: one spelling, one rule for case, and the mark of unlabelled rows."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.data_sets import local, make, numbered, write_rows
from w2s_cli.data.label_files import probabilities
from w2s_cli.data.labels import class_reader, distinct_classes, spelled
from w2s_cli.data.read import read
from w2s_cli.data.recipes import check_recipe
from w2s_cli.data.rows import Part, Rows
from w2s_cli.data.sources import SplitFiles, local_files
from w2s_cli.errors import UserError

ALL = {"weak_train": 1.0}


def of_file(name: str, labels: list[Any]) -> Rows:
    """The rows of a file with a column y."""
    rows = [{"y": label} for label in labels]
    part = Part(Path(name), len(rows), ["y"])
    return Rows(
        name, ("y",), len(rows), lambda column: [r[column] for r in rows], lambda at: (rows[i] for i in at), [part]
    )


def labelled(folder: Path, values: list[Any], **changes: Any) -> tuple[list[str], list[int]]:
    """Class names, and the class numbers of rows with these labels in turn, in the rows' order."""
    rows = numbered(12 * len(values), label=lambda i: values[i % len(values)], id=lambda i: f"{i:04}")
    data = local(write_rows(folder / "a.jsonl", rows), pools=ALL, id="id", **changes)
    made, metrics = make(folder / "rows", data, "weak_train")
    return metrics["classes"], [row["label"] for row in sorted(made, key=lambda row: str(row["id"]))][: len(values)]


@pytest.mark.parametrize(
    ("values", "classes", "names", "numbers"),
    [
        ([" neg", "neg ", "neg", "pos"], None, ["neg", "pos"], [0, 0, 0, 1]),
        (["YES ", "\tNO"], None, ["NO", "YES"], [1, 0]),
        ([" pos", "neg"], ["neg ", " pos"], ["neg", "pos"], [1, 0]),
        (["YES ", "yes", "No"], [" no", "Yes"], ["no", "Yes"], [1, 1, 0]),
        (["True", "false ", "TRUE"], ["True", "False"], ["True", "False"], [0, 1, 0]),
        ([" 1", "0 "], ["bad", "good"], ["bad", "good"], [1, 0]),
        ([1_000_000.0, 3.0], None, ["3", "1000000"], [1, 0]),
        ([-1, 1], [-1, 1], ["-1", "1"], [0, 1]),
        (["+1", "-1"], ["-1", "1"], ["-1", "1"], [1, 0]),
        (["1.0", "0", "1", "0.0"], None, ["0", "1"], [1, 0, 1, 0]),
        (["1.0", "0."], ["bad", "good"], ["bad", "good"], [1, 0]),
        (["007", "7.0", "7.5"], None, ["007", "7", "7.5"], [0, 1, 2]),
        ([-1, 0, 1], ["-1", "0", "1"], ["-1", "0", "1"], [0, 1, 2]),
    ],
)
def test_spaces_around_labels_do_not_count_and_a_named_class_is_read_in_any_case(
    tmp_path: Path, values: list[Any], classes: list[str] | None, names: list[str], numbers: list[int]
) -> None:
    assert labelled(tmp_path, values, classes=classes) == (names, numbers)


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        *(
            (" 1 ", "1"),
            ("1.", "1"),
            ("-1.00", "-1"),
            ("+3", "3"),
            ("-0.0", "0"),
            ("100", "100"),
            ("9" * 5000, "9" * 5000),
        ),
        *((name, name) for name in ("007", "1.5", "1e3", "1.0.0", ".0", "+", "- 1", "1 0", "٣", "１.0", "1.0\n2")),
    ],
)
def test_a_whole_number_as_text_has_one_spelling_and_any_other_text_is_a_name(value: str, spelling: str) -> None:
    assert spelled(value) == spelling


@pytest.mark.parametrize("labels", [[-1, 1], ["+1", "-1"], [-1.0, 1.0]])
def test_a_coding_of_two_classes_by_minus_one_and_one_needs_named_classes(labels: list[Any]) -> None:
    with pytest.raises(UserError, match=r"if -1 is a class, name all classes: data\.classes=\[-1,1\]\."):
        distinct_classes([of_file("a.csv", labels)], "y")


def test_an_exact_name_comes_before_one_in_another_case() -> None:
    read_label = class_reader(["US", "us", "them"])
    assert [read_label(value) for value in ("us", "US", "THEM")] == [1, 0, 2]
    assert "none of the 3 classes" in str(read_label("Us"))


def test_labels_that_differ_in_case_alone_need_named_classes(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r'a\.jsonl, line 2, column "label": the labels "YES" and "yes" differ in case alone'
    ):
        labelled(tmp_path, ["YES", "yes", "no"])
    assert labelled(tmp_path, ["YES", "yes", "no"], classes=["no", "yes"]) == (["no", "yes"], [1, 1, 0])


def test_classes_that_differ_only_in_spaces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of different names"):
        check_recipe(local(tmp_path, classes=["neg", " neg"]))


@pytest.mark.parametrize("mark", [-1, -1.0, "-1", " -1"])
def test_rows_marked_as_unlabelled_in_every_split_are_refused(tmp_path: Path, mark: Any) -> None:
    other = str if isinstance(mark, str) else int
    for split in ("train", "test"):
        write_rows(tmp_path / f"{split}.jsonl", numbered(60, label=lambda i: mark if i % 3 == 2 else other(i % 3)))
    data = local(tmp_path, splits={"train": "train", "test": "test"}, pools=ALL)
    for pool in ("test", "weak_train"):
        with pytest.raises(
            UserError, match=r'\.jsonl, line 3, column "label": the label -1 marks a row without a label'
        ):
            make(tmp_path / pool, data, pool)


def test_a_test_split_without_labels_is_refused_by_its_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", numbered(60))
    write_rows(tmp_path / "test.jsonl", numbered(60, label=lambda i: -1))
    data = local(tmp_path, splits={"train": "train", "test": "test"}, pools=ALL)
    with pytest.raises(UserError, match=r"test\.jsonl, line 1.*: the label -1 marks"):
        make(tmp_path / "rows", data, "weak_train")
    with pytest.raises(UserError, match="-1 marks a row without a label"):
        make(tmp_path / "rows", {**data, "classes": ["no", "yes"]}, "test")


def test_names_in_one_file_and_numbers_in_another_are_refused_by_both_places() -> None:
    match = r'b, row 1, column "y": the label is 1, but \'0\' in a, row 1, column "y"'
    with pytest.raises(UserError, match=match):
        distinct_classes([of_file("a", ["0", "1"]), of_file("b", [1, 0])], "y")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_csv_file_written_with_spaces_after_its_commas_is_read_without_them(tmp_path: Path, name: str) -> None:
    content = '\ufefftext, label, note\none, neg, \n"two, three", pos , x\n five, neg, "a ""b"""\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    rows = read(local_files(tmp_path / name, {"train": "train"})["train"])
    assert list(rows.take(range(3))) == [
        {"text": "one", "label": "neg", "note": None},
        {"text": "two, three", "label": "pos ", "note": "x"},
        {"text": "five", "label": "neg", "note": 'a "b"'},
    ]


def test_a_leading_space_of_a_cell_stays_where_the_header_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text ,label\n  one, neg\n")
    rows = read(local_files(tmp_path / "a.csv", {"train": "train"})["train"])
    assert list(rows.take([0])) == [{"text": "  one", "label": " neg"}]


def test_a_file_of_labels_is_read_as_the_data_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id, label\nr0, POS\nr1,neg \n")
    labels = read(SplitFiles("csv", (tmp_path / "a.csv",)))
    assert probabilities(labels, ["neg", "pos"]).tolist() == [[0, 1], [1, 0]]
