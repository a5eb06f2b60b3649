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
    "loss=xent,logconf,product",
    "seed=0,1,2",
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
    assert trained == {"weak": 6, "ceiling": 9, "student": 54}
    dealt = {name: count for (kind, name), count in counted.items() if kind == "rows"}
    assert dealt == {"rows:weak_train": 3, "rows:strong_train": 3, "rows:test": 1}  # a seed draws its own training rows
    scored = {name: count for (kind, name), count in counted.items() if kind == "label"}
    assert scored == {"labels": 6, "weak_test": 6, "ceiling_test": 9, "student_test": 54}
    assert sum(count for (kind, _), count in counted.items() if kind == "evaluate") == 54
    assert counted["summary", "summary"] == 18
    asked = f"54 jobs ask for 612 stages, {counted.total()} of them distinct"
    assert f"{asked}: {counted.total()} ran, 0 cached" in first.stdout
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "stages").glob("*/*/record.json")}
    again = w2s("train", "-m", *SWEEP)
    assert f"{asked}: all cached" in again.stdout
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "stages").glob("*/*/record.json")
    } == times


@pytest.mark.slow
def test_methods_of_one_weak_model_share_its_texts(
    w2s: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The weak supervisor of a seed writes once for three methods, and the untrained strong model once for all seeds."""
    limits = ["data.limits.weak_train=400", "data.limits.strong_train=120", "data.limits.test=64"]
    methods = "method=naive_text,w2s_reasoning,w2s_reasoning_pairs"
    words = [
        "data=arithmetic",
        "weak=arithmetic-s",
        "strong=arithmetic-l",
        "bootstrap=200",
        "outputs=outputs",
        "seed=0,1,2",
    ]
    w2s("train", "-m", methods, *words, *limits, timeout=900)
    jobs = 9
    counted = records(tmp_path)
    written = {name: count for (kind, name), count in counted.items() if kind == "generate"}
    assert sum(count for (kind, _), count in counted.items() if kind == "summary_texts") < jobs
    assert {name: written[name] for name in ("weak_texts", "weak_test", "ceiling_test")} == dict.fromkeys(
        ("weak_texts", "weak_test", "ceiling_test"), 3
    )
    assert written["untuned_test"] == 1
    assert {
        name: count for (kind, name), count in counted.items() if kind == "tune" and name in ("weak", "ceiling")
    } == {
        "weak": 3,
        "ceiling": 3,
    }
