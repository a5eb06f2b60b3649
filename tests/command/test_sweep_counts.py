"""What a sweep over models, losses and seeds really runs, counted from the records in the store."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

SWEEP = [
    "weak=wordnet-xs,wordnet-s",
    "strong=wordnet-s,wordnet-m,wordnet-l",
    "loss=xent,logconf",
    "seed=0,1",
    "debug=tiny",
    "outputs=outputs",
]


def records(folder: Path) -> Counter[tuple[str, str]]:
    """(kind, stage name) of every finished stage in the store."""
    found: Counter[tuple[str, str]] = Counter()
    for record in (folder / "outputs" / "stages").glob("*/*/record.json"):
        job = json.loads((record.parent / "stage.json").read_text())
        found[job["kind"], job["name"]] += 1
    return found


@pytest.mark.slow
def test_a_sweep_trains_each_model_once_and_a_second_command_nothing(
    w2s: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    first = w2s("train", "-m", *SWEEP, timeout=600)
    counted = records(tmp_path)
    trained = {name: count for (kind, name), count in counted.items() if kind == "finetune"}
    assert trained == {"weak": 4, "ceiling": 6, "student": 24}
    dealt = {name: count for (kind, name), count in counted.items() if kind == "rows"}
    assert dealt == {"rows:weak_train": 2, "rows:strong_train": 2, "rows:test": 1}  # a seed draws its own training rows
    scored = {name: count for (kind, name), count in counted.items() if kind == "label"}
    assert scored == {"labels": 4, "weak_test": 4, "ceiling_test": 6, "student_test": 24}
    assert sum(count for (kind, _), count in counted.items() if kind == "evaluate") == 24
    assert counted["summary", "summary"] == 12
    asked = f"24 jobs ask for 276 stages, {counted.total()} of them distinct"
    assert f"{asked}: {counted.total()} ran, 0 cached" in first.stdout
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "stages").glob("*/*/record.json")}
    again = w2s("train", "-m", *SWEEP)
    assert f"{asked}: all cached" in again.stdout
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "stages").glob("*/*/record.json")
    } == times
