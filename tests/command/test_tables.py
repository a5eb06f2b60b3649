"""scripts/threads_table.py and scripts/processes_table.py, which make tables of docs/speed.md and docs/runs.md, on small runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts import processes_table, threads_table
from tests.conftest import ROOT, environment

SMALL = ["debug=tiny", "weak=wordnet-xs", "strong=wordnet-s", "bootstrap=200"]


def script(name: str, *words: str) -> str:
    """What a script prints."""
    arguments = [sys.executable, str(ROOT / "scripts" / name), *words]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_table_of_threads_has_a_time_for_each_setting_and_the_command_of_a_row() -> None:
    table = script("threads_table.py", "alone: wordnet-l, short", "--rows", "64", "--repeats", "1")
    cell = r"\d+\.\d"
    assert re.search(rf"^\| alone: wordnet-l, short \| {cell} \| {cell} \| {cell} \|  \|$", table, re.MULTILINE)
    assert table.splitlines()[-1] == "w2s label weak=wordnet-l data.limits.weak_train=64 data.limits.strong_train=32"


def test_a_cell_of_threads_has_the_median_and_the_range() -> None:
    assert threads_table.told([3.0, 1.0, 2.04]) == "2.0 (1.0–3.0)"
    assert threads_table.told([13.94]) == "13.9"


def test_an_unknown_row_of_threads_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        threads_table.main(["nonsense"])
    assert "no row begins with nonsense; there are: wordnet-l" in capsys.readouterr().err


@pytest.mark.slow
def test_the_table_of_processes_has_a_row_for_each_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("weak", "labels", "student")
    monkeypatch.setattr(processes_table, "RUNS", {"labels": (SMALL, names)})
    two = {name: words for name, words in processes_table.SETTINGS.items() if "FSDP2" not in name}
    monkeypatch.setattr(processes_table, "SETTINGS", two)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    assert processes_table.main([str(tmp_path)]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| stage | updates or rows | seconds, 1 | seconds, 2 | difference, 2 |"
    line = r"\| (finetune|label) (\w+) \| [\d,]+ (updates|rows) \| \d+\.\d \| \d+\.\d \| (\de[+-]\d+) \|"
    read = [re.fullmatch(line, row) for row in rows]
    assert all(read), rows
    assert {match[2] for match in read if match} == set(names)
    assert max(float(match[4]) for match in read if match) < 1e-4


def test_a_difference_of_trainings_is_the_largest_of_their_losses(tmp_path: Path) -> None:
    for name, losses in (("one", [0.7, 0.5]), ("two", [0.7, 0.25])):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines))
    assert processes_table.difference(tmp_path / "one", tmp_path / "two") == 0.25


def test_a_difference_of_labels_is_the_largest_of_their_probabilities(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, p in (("one", [[0.5, 0.5], [0.25, 0.75]]), ("two", [[0.5, 0.5], [0.375, 0.625]])):
        (tmp_path / name / "result").mkdir(parents=True)
        pq.write_table(pa.table({"id": ["a", "b"], "p": p}), tmp_path / name / "result" / "labels.parquet")
    assert processes_table.difference(tmp_path / "one", tmp_path / "two") == 0.125
    np.testing.assert_array_equal(processes_table.numbers(pa.chunked_array([[[1, 2], [3]]])), [1, 2, 3])
