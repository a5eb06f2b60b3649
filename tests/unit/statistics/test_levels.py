"""The order of levels in tables and figures, also of metrics that went through a file."""

from pathlib import Path

import pytest

from w2s_cli.results.graded_table import level_rows
from w2s_cli.statistics.levels import in_order
from w2s_cli.store.files import read_json, write_json


@pytest.mark.parametrize(
    ("levels", "ordered"),
    [
        (["1", "10", "2"], ["1", "2", "10"]),
        (["10.5", "2", "nan", "2"], ["2", "10.5", "nan"]),
        (["Level 10", "Level 2"], ["Level 2", "Level 10"]),
        (["hard", "3", "easy"], ["3", "easy", "hard"]),
    ],
)
def test_levels_are_in_the_order_of_their_numbers(levels: list[str], ordered: list[str]) -> None:
    assert in_order(levels) == ordered


def test_the_table_of_a_stored_run_has_ten_after_two(tmp_path: Path) -> None:
    metrics = {"student": {}, "levels": {level: {"student": float(level)} for level in ("1", "2", "10")}}
    write_json(tmp_path / "manifest.json", metrics)
    assert level_rows(read_json(tmp_path / "manifest.json")) == [
        ["accuracy by level", "1", "2", "10"],
        ["student", "1.000", "2.000", "10.000"],
    ]
