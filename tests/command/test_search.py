"""A search by `w2s train -m FIELD='interval(…)' search.trials=N`: what runs, what is chosen by what, and what an end in between leaves."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import command, environment, write_jsonl
from tests.faults.test_resume import POOLS, artifacts
from w2s_cli.pipeline import packages

Run = Callable[..., subprocess.CompletedProcess[str]]
LR = "strong.lr=tag(log,interval(1e-4,1e-2))"
QUICK = [POOLS, "data.limits={weak_train: 32, strong_train: 32, test: 32}", "train.epochs=1"]


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    """The words of a run of a second, without its learning rate."""
    return [*(word for word in tiny if not word.startswith("strong.lr")), *QUICK]


def record_of(outputs: Path) -> dict[str, Any]:
    [path] = outputs.glob("sweeps/*/*/search.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def stages(outputs: Path, kind: str) -> list[Path]:
    return [path.parent for path in sorted(outputs.glob(f"stages/{kind}/*/record.json"))]


def job(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "stage.json").read_text())
    return found


def labels(outputs: Path, key: str) -> Iterator[np.ndarray]:
    """ids and classes of a stage's labels."""
    [path] = outputs.glob(f"stages/label/*-{key}/result/labels.parquet")
    table = pq.read_table(path).to_pydict()
    yield np.array(table["id"])
    yield np.array(table["p"]).argmax(1)


@pytest.mark.slow
def test_a_search_runs_shared_stages_once_and_only_the_best_trial_on_test_rows(
    w2s_inside: Run, words: list[str], tmp_path: Path
) -> None:
    line = ["train", "-m", *words, LR, "search.trials=4", "search.batch=2"]
    done = w2s_inside(*line)
    outputs = tmp_path / "outputs"
    names = [job(folder)["name"] for kind in ("finetune", "label", "validate") for folder in stages(outputs, kind)]
    counts = {name: names.count(name) for name in names}
    assert counts == {
        **dict.fromkeys(["weak", "ceiling", "labels", "labels@strong_val"], 1),
        **dict.fromkeys(["weak_test", "student_test", "ceiling_test"], 1),
        **dict.fromkeys(["student", "student_test@strong_val", "validation"], 4),
    }
    trials = record_of(outputs)["studies"][0]["trials"]
    by_lr = {}
    for folder in stages(outputs, "validate"):
        inputs = job(folder)["inputs"]
        (ids, student), (others, weak) = labels(outputs, inputs["student"]), labels(outputs, inputs["labels"])
        assert (ids == others).all()
        [model] = outputs.glob(f"stages/label/*-{inputs['student']}/stage.json")
        [trained] = outputs.glob(f"stages/finetune/*-{json.loads(model.read_text())['inputs']['model']}")
        by_lr[job(trained)["params"]["lr"]] = float((student == weak).mean())
    assert {trial["params"]["strong.lr"]: trial["score"] for trial in trials} == pytest.approx(by_lr)
    best = max(range(4), key=lambda number: (trials[number]["score"], -number))
    [tested] = [folder for folder in stages(outputs, "label") if job(folder)["name"] == "student_test"]
    [winner] = outputs.glob(f"stages/finetune/*-{job(tested)['inputs']['model']}")
    assert job(winner)["params"]["lr"] == trials[best]["params"]["strong.lr"]
    assert w2s_inside("status").stdout.endswith("\ntrials: 4 scored\n")
    (asked,) = re.findall(r"^(\d+) stages \((\d+) asked for, (\d+) distinct\)", done.stdout, re.MULTILINE)
    assert asked[0] == asked[2] < asked[1]
    table = done.stdout.partition("\ntrials\n")[2].splitlines()
    assert [bool(re.search(r"\d\.\d{3}  .*best$", row)) for row in table[1:5]] == [n == best for n in range(4)]
    assert "against the weak labels of these rows; no ground truth" in done.stdout
    assert "* on test rows, against ground truth: not used for the choice." in done.stdout

    before = {path: path.stat().st_mtime_ns for path in outputs.glob("stages/*/*/record.json")}
    again = w2s_inside(*line)
    assert {path: path.stat().st_mtime_ns for path in outputs.glob("stages/*/*/record.json")} == before
    assert again.stdout.partition("\ntrials\n")[2] == done.stdout.partition("\ntrials\n")[2]
    assert len(list(outputs.glob("sweeps/*/*"))) == 1

    [printed] = re.findall(r"The best trial with 5 seeds: w2s (.*)", done.stdout)
    plan = w2s_inside("plan", *shlex.split(printed)[1:])
    student = next(row for row in plan.stdout.splitlines() if row.startswith("student s0"))
    assert student.endswith("done")
    assert winner.name[-12:] in student


@pytest.mark.slow
def test_more_trials_go_on_from_the_earlier_ones(w2s_inside: Run, words: list[str], tmp_path: Path) -> None:
    line = ["train", "-m", *words, LR, "search.batch=2", "search.metric=cross_entropy"]
    w2s_inside(*line, "search.trials=3", "outputs=one")
    three = record_of(tmp_path / "one")["studies"][0]["trials"]
    w2s_inside(*line, "search.trials=5", "outputs=one")
    w2s_inside(*line, "search.trials=5", "outputs=other")
    five = record_of(tmp_path / "one")["studies"][0]["trials"]
    assert five[:3] == three
    assert five == record_of(tmp_path / "other")["studies"][0]["trials"]
    fewer = w2s_inside(*line, "search.trials=3", "outputs=one").stdout.partition("\ntrials\n")[2]
    assert len(re.findall(r"^ +\d +0\.00", fewer, re.MULTILINE)) == 3


@pytest.mark.slow
def test_each_setting_has_its_own_search_and_a_score_is_the_mean_over_seeds(
    w2s_inside: Run, words: list[str], tmp_path: Path
) -> None:
    shown = w2s_inside(
        "train", "-m", *words, LR, "loss=xent,kl", "seeds=2", "search.trials=2", "search.test=all"
    ).stdout
    outputs = tmp_path / "outputs"
    studies = record_of(outputs)["studies"]
    assert [study["words"] for study in studies] == [["loss=xent"], ["loss=kl"]]
    for study in studies:
        for trial in study["trials"]:
            assert len(trial["per_seed"]) == 2
            assert trial["score"] == pytest.approx(np.mean(trial["per_seed"]))
    assert len(stages(outputs, "validate")) == 8
    assert len(stages(outputs, "evaluate")) == 8  # search.test=all
    assert shown.count("the mean over 2 seeds") == 2
    assert len(re.findall(r"^ +[12] +0\.\d+ +[01]\.\d{4} +[01]\.\d{3} ", shown, re.MULTILINE)) == 4


@pytest.mark.slow
def test_a_search_killed_in_a_batch_goes_on_with_the_same_trials(w2s: Run, words: list[str], tmp_path: Path) -> None:
    line = ["train", "-m", *words, LR, "search.trials=6", "search.batch=2"]
    w2s(*line, "outputs=plain")
    killed, kills = tmp_path / "killed", 0
    for scored in (0, 2, 4):
        process = subprocess.Popen(
            command([*line, "outputs=killed"]),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not _is_in_batch(killed, scored):
            time.sleep(0.02)
        time.sleep(0.3 * (1 + scored))  # while a worker starts, or trains
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)  # its workers die with it
            kills += 1
        process.wait()
    assert kills == 3
    [record] = killed.glob("sweeps/*/*/search.json")
    assert "open" in {trial["state"] for trial in json.loads(record.read_text())["studies"][0]["trials"]}
    proposed = [trial["params"] for trial in json.loads(record.read_text())["studies"][0]["trials"]]
    w2s(*line, "outputs=killed")
    assert [trial["params"] for trial in record_of(killed)["studies"][0]["trials"]][: len(proposed)] == proposed
    assert record_of(killed) == record_of(tmp_path / "plain")
    assert artifacts(killed) == artifacts(tmp_path / "plain")


def _is_in_batch(outputs: Path, scored: int) -> bool:
    """Whether a search with this number of scores has begun the trials of its next batch."""
    for path in outputs.glob("sweeps/*/*/search.json"):
        trials = json.loads(path.read_text())["studies"][0]["trials"]
        if sum(trial["state"] == "scored" for trial in trials) == scored and len(trials) == scored + 2:
            return len(list(outputs.glob("stages/finetune/student-*"))) > scored
    return False


@pytest.mark.slow
def test_a_search_without_its_record_finds_the_same_trials_in_the_store(
    w2s_inside: Run, words: list[str], tmp_path: Path
) -> None:
    line = ["train", "-m", *words, LR, "search.trials=3", "search.batch=1"]
    w2s_inside(*line)
    outputs = tmp_path / "outputs"
    [path] = outputs.glob("sweeps/*/*/search.json")
    text, before = path.read_text(), artifacts(outputs)
    path.write_text(text[: len(text) // 2])
    w2s_inside(*line)
    assert path.read_text() == text
    assert artifacts(outputs) == before


LOSS = """
from torch.nn.functional import cross_entropy

def mine(logits, labels, *, progress, scale: float = 0.0):
    return cross_entropy(logits, labels) * (1.0 if scale < {most} else float("nan"))
"""


def own_loss(folder: Path, most: float) -> list[str]:
    """The words of a search over a loss that fails from `most` on."""
    for place, text in (("losses/mine.py", LOSS.format(most=most)), ("loss/mine.yaml", "name: mine\nargs: {}\n")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    return ["--config-dir", str(folder), "loss=mine", "loss.args.scale=interval(0,1)"]


@pytest.mark.slow
def test_a_failed_trial_is_told_as_failed_and_the_search_goes_on(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    line = ["train", "-m", *tiny, *QUICK, *own_loss(tmp_path / "mine", 0.6), "search.trials=6", "search.batch=3"]
    done = w2s_inside(*line)
    trials = record_of(tmp_path / "outputs")["studies"][0]["trials"]
    states = [trial["state"] for trial in trials]
    assert set(states) == {"scored", "failed"}
    for trial in trials:
        assert (trial["state"] == "failed") == (trial["params"]["loss.args.scale"] >= 0.6)
        assert (trial["score"] is None) == (trial["state"] == "failed")
    assert "loss mine is nan" in done.stderr
    assert done.stdout.count("failed: loss mine is nan") == states.count("failed")
    assert f"--config-dir {tmp_path / 'mine'}" in done.stdout
    again = w2s_inside(*line)
    assert "loss mine is nan" not in again.stderr  # no failed trial is tried again
    assert record_of(tmp_path / "outputs")["studies"][0]["trials"] == trials


@pytest.mark.slow
def test_a_batch_without_a_score_ends_the_search_until_its_cause_is_corrected(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    line = ["train", "-m", *tiny, *QUICK, *own_loss(tmp_path / "mine", 0.0), "search.trials=4", "search.batch=2"]
    done = w2s_inside(*line, code=2)
    assert "no trial of this batch has a score: correct the cause" in done.stderr
    assert {trial["state"] for trial in record_of(tmp_path / "outputs")["studies"][0]["trials"]} == {"open"}
    own_loss(tmp_path / "mine", 2.0)
    assert "best" in w2s_inside(*line).stdout


@pytest.mark.slow
def test_weak_labels_of_one_class_have_no_auroc_to_search_by(w2s_inside: Run, words: list[str], tmp_path: Path) -> None:
    rows = [{"id": f"r{number}", "text": "a dog", "label": int(number % 4 == 0)} for number in range(400)]
    path = write_jsonl(tmp_path / "one.jsonl", rows)
    own = [word for word in words if not word.startswith("data.path")]
    line = ["train", "-m", *own, f"data.path={path}", LR, "search.trials=2", "search.metric=auroc"]
    assert "auroc is not defined, as where all weak labels are of one class" in w2s_inside(*line, code=2).stderr


def test_a_plan_shows_the_next_batch_and_runs_nothing(w2s_inside: Run, words: list[str], tmp_path: Path) -> None:
    shown = w2s_inside("plan", "-m", *words, LR, "search.trials=8", "search.batch=3").stdout
    assert shown.partition("memory, GiB")[0].count("student_test@strong_val") == 3
    assert "trials 1 to 3 of 8; the scores decide on later ones" in shown
    assert not (tmp_path / "outputs").exists()


def test_a_search_without_optuna_is_refused_before_anything_runs(
    w2s_inside: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = packages.importlib.util.find_spec
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "optuna" else found(name))
    done = w2s_inside("train", "-m", *words, LR, "search.trials=2", code=2)
    assert 'a search (search.trials) needs optuna, which is not installed: pip install "optuna' in done.stderr
    assert not (tmp_path / "outputs").exists()
