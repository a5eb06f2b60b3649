"""Labels from a file, of a labeller that never says one of the classes: what a user reads of such a run, everywhere."""

import html
import json
from pathlib import Path
from typing import Any

import pytest

import w2s_cli
from tests.conftest import sentences, without_weak, write_jsonl
from tests.inside import restored

ROWS = [
    {"id": row["id"], "p": 0.9 if row["label"] else 0.6} for row in sentences(240)
]  # class 1, in the order of the truth


@pytest.fixture
def words(tiny: list[str], tmp_path: Path) -> list[str]:
    """A run whose student learns from the file `never.order.jsonl`."""
    return [*without_weak(tiny), "labels=file", f"labels.path={write_jsonl(tmp_path / 'never.order.jsonl', ROWS)}"]


def results(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("outputs/runs/*/*/results.json")
    entries: list[dict[str, Any]] = json.loads(path.read_text())["entries"]
    return entries


@pytest.mark.slow
def test_without_labels_of_the_test_rows_tables_show_the_labellers_accuracy_and_no_pgr(
    w2s_inside: Any, words: list[str], tmp_path: Path
) -> None:
    out = w2s_inside("train", *words).stdout
    [entry] = results(tmp_path)
    right = entry["metrics"]["student"]["labels"]["accuracy"]
    assert 0.4 < right < 0.6
    (line,) = (line for line in out.splitlines() if line.startswith("labels of the student's rows"))
    assert line.split()[-1] == f"{right:.3f}"
    for name in ("table", "table methods"):
        shown = w2s_inside(*name.split()).stdout
        head = next(line for line in shown.splitlines() if line.startswith("data"))
        assert head.split() == ["data", "labels", "student", "ceiling"]
        assert f"{right:.3f}" in shown
        assert "No weak, PGR: no result has these roles' predictions" in shown
    assert f"{right:.3f}" in w2s_inside("table", "metric=labels,student.auroc").stdout
    refused = w2s_inside("table", "metric=weak.auroc", code=2).stderr
    assert 'no result has a metric "weak.auroc"' in refused
    with restored(tmp_path, {}):
        [row] = w2s_cli.load("latest")
    assert row["labels_accuracy"] == right
    assert row["pgr"] is None
    names = [path.name for path in [*tmp_path.glob("outputs/runs/*/*"), *tmp_path.glob("outputs/stages/evaluate/*-*")]]
    assert len(names) == 2
    assert all("never-local-local" in name for name in names)
    w2s_inside("report")
    assert "labels of the student's rows" in html.unescape(
        next(tmp_path.glob("outputs/runs/*/*/report.html")).read_text()
    )


@pytest.mark.slow
def test_a_student_of_one_class_labels_is_cautioned_everywhere_in_the_same_words(
    w2s_inside: Any, words: list[str], tmp_path: Path
) -> None:
    out = w2s_inside("train", *words, f"labels.test_path={tmp_path / 'never.order.jsonl'}", "train.epochs=4").stdout
    [entry] = results(tmp_path)
    assert entry["metrics"]["weak"]["auroc"] == 1
    assert entry["metrics"]["weak"]["per_seed"]["updates"] == [0]
    assert entry["metrics"]["pgr"]["interval"] == [0, 0]
    (manifest,) = tmp_path.glob("outputs/stages/finetune/student-*/result/manifest.json")
    steps = json.loads(manifest.read_text())["metrics"]["steps"]
    cautions = [line for line in out.splitlines() if line.startswith("Caution: ")]
    assert len(cautions) == 4
    assert "the weak supervisor predicts one class" in cautions[0]
    assert "not trained here" in cautions[0]
    assert "the strong student predicts one class" in cautions[1]
    assert f"after {steps} updates" in cautions[1]
    assert f"few updates (strong student {steps}, strong ceiling {steps}): train.epochs=" in cautions[2]
    assert "interval of PGR has no width" in cautions[3]
    table = w2s_inside("table").stdout
    assert [line for line in table.splitlines() if line.startswith("Caution: ")] == cautions
    w2s_inside("report")
    page = html.unescape(next(tmp_path.glob("outputs/runs/*/*/report.html")).read_text())
    assert all(line in page for line in cautions)
    with restored(tmp_path, {}):
        [row] = w2s_cli.load("latest")
    assert row["cautions"] == cautions
    assert [row[f"{role}_untrained_threshold"] for role in ("weak", "student", "ceiling")] == [True, True, False]
    assert row["pgr_flag"] == "no_width"


@pytest.mark.slow
def test_seeds_with_a_label_file_each_are_one_setting(w2s_inside: Any, tiny: list[str], tmp_path: Path) -> None:
    for seed in range(2):
        right = [
            {"id": row["id"], "label": int(row["label"] == seed)} for row in sentences(240)
        ]  # with seed 0 all are wrong
        write_jsonl(tmp_path / f"mine-{seed}.jsonl", right)
    file = f"labels.path={tmp_path}/mine-${{seed}}.jsonl"
    done = w2s_inside("train", *without_weak(tiny), "labels=file", file, "seeds=2", "strong.epochs=0.5")
    (run,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    of_seeds = [
        entry for entry in json.loads((run / "results.json").read_text())["entries"] if entry["stage"] != "summary"
    ]
    assert [entry["metrics"]["student"]["labels"]["accuracy"] for entry in of_seeds] == [0.0, 1.0]  # its own file
    assert {entry["weak"] for entry in of_seeds} == {str(tmp_path / "mine-${seed}.jsonl")}
    shown = w2s_inside("table", "rows=weak").stdout
    assert sum(line.startswith("…/mine-${seed}.jsonl  ") for line in shown.splitlines()) == 1, shown  # one row
    assert "2 seeds" in done.stdout


def test_a_file_without_labels_for_some_rows_is_refused_by_the_plan(
    w2s_inside: Any, tiny: list[str], tmp_path: Path
) -> None:
    few = write_jsonl(tmp_path / "few.jsonl", ROWS[:100])
    words = [*without_weak(tiny), "labels=file", f"labels.path={few}"]
    for command in ("plan", "train"):
        done = w2s_inside(command, *words, code=2)
        assert "ids are missing" in done.stderr
        assert f"{few}: " in done.stderr
    assert not list(tmp_path.glob("outputs/stages/*/*"))
    odd = write_jsonl(tmp_path / "odd.jsonl", [{**row, "p": 1.5 if row["id"] == "r3" else 0.5} for row in ROWS])
    refused = w2s_inside("plan", *words[:-1], f"labels.path={odd}", code=2).stderr
    assert 'odd.jsonl, line 4, column "p": 1.5: a probability lies between 0 and 1.' in refused
