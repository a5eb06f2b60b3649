"""A table for a narrow terminal: within its width, and every word and figure of it whole."""

import re

import pytest

from w2s_cli.results.narrow import GAP, blocks, fitted, flowed, wrapped

PLAN = [
    ["stage", "kind", "what", "key", "state"],
    ["student", "finetune", "wordnet-l strong_train lr 0.0001 xent on labels", "cde1c1dd305a", "to run"],
    ["rows:strong_train", "rows", "wordnet_living strong_train ≤ 4000", "ea6f4b231d4a", "to run"],
]
RESULT = [
    ["", "accuracy", "95 % interval", "per seed"],
    ["agreement with the supervisor", "0.812", "[0.100, 0.200]", ""],
    ["  where it is right", "0.812", "[0.100, 0.200]", "0.547 0.333 0.594 0.516 0.594"],
]
STAGES = [
    ["key", "stage", "when"],
    ["ac851a000000", "student-wordnet-l-wordnet_living-test-s0", "2026-11-29 12:10"],
]


def width(rows: list[list[str]]) -> int:
    """Characters of a table's widest line."""
    columns = zip(*rows, strict=True)
    return sum(max(len(line) for cell in column for line in cell.split("\n")) + GAP for column in columns) - GAP


@pytest.mark.parametrize("rows", [PLAN, RESULT, STAGES])
@pytest.mark.parametrize("columns", [200, 80, 70, 60])
def test_a_table_fits_and_loses_nothing(rows: list[list[str]], columns: int) -> None:
    table = fitted(rows, columns)
    assert table is not None
    assert width(table) <= columns
    for row, whole in zip(table, rows, strict=True):
        for cell, text in zip(row, whole, strict=True):
            assert re.sub(r"\s", "", cell) == re.sub(r"\s", "", text)
    assert (table == rows) == (width(rows) <= columns)


def test_keys_intervals_dates_and_words_stay_whole() -> None:
    for rows, pieces in (
        (PLAN, ["cde1c1dd305a", "finetune", "strong_train", "0.0001"]),
        (RESULT, ["[0.100, 0.200]", "0.547", "agreement"]),
        (STAGES, ["ac851a000000", "2026-11-29", "student-"]),
    ):
        table = fitted(rows, 50 if rows is STAGES else 62)
        assert table is not None
        lines = [line for row in table for cell in row for line in cell.split("\n")]
        for piece in pieces:
            assert any(piece in line for line in lines), piece


def test_the_column_with_the_longest_text_is_wrapped_and_the_others_are_not() -> None:
    table = fitted(PLAN, 80)
    assert table is not None
    assert [cell.count("\n") for cell in table[1]] == [0, 0, 1, 0, 0]


def test_the_indentation_of_a_label_stands_before_each_of_its_lines() -> None:
    assert wrapped("  where it is right", 12, False) == ["  where it", "  is right"]
    assert wrapped("a [0.1, 0.2] b", 4, False) == ["a", "[0.1, 0.2]", "b"]
    assert wrapped("runs/2026-11-29/one-two", 12, False) == ["runs/2026-11-29/one-two"]
    assert wrapped("runs/one-two_three", 9, True) == ["runs/one-", "two_three"]


def test_a_table_that_cannot_fit_has_a_block_for_each_row() -> None:
    assert fitted(STAGES, 20) is None
    assert blocks(STAGES, 30).splitlines() == [
        "ac851a000000",
        "    stage:",
        "    student-wordnet-l-wordnet_living-test-s0,",
        "    when: 2026-11-29 12:10",
    ]


def test_items_are_not_broken() -> None:
    assert flowed(["weak 2 × 9.9 s", "ceiling 7.4 s", "4 more"], 30) == ["weak 2 × 9.9 s, ceiling 7.4 s,", "4 more"]
    assert flowed(["path a/long-path-without-end", "b"], 12) == ["path", "a/long-path-without-end,", "b"]
