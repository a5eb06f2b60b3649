"""The methods of texts on the bundled arithmetic problems: in each, its mechanism changes an outcome that is known beforehand.

The bundled models are real: the strong one can solve the problems and does not by default. So the outcomes are those of the papers, on few
rows. One outputs folder serves all tests of this file: the methods share their stages.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import environment
from tests.inside import run_inside

pytestmark = pytest.mark.slow
WORDS = ["data=arithmetic", "weak=arithmetic-s", "strong=arithmetic-l", "data.limits.weak_train=400", "bootstrap=200"]
LIMITS = ["data.limits.strong_train=300", "data.limits.test=300"]
Run = Callable[..., "Finished"]


class Finished:
    """A finished run: its stages by name."""

    def __init__(self, folder: Path) -> None:
        run = max((folder / "outputs/runs").glob("*/*"), key=lambda path: (path / "plan.json").stat().st_mtime)
        plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))["stages"]
        self._stages = {
            stage["name"]: next((folder / "outputs/stages" / stage["kind"]).glob(f"*-{stage['key']}")) for stage in plan
        }
        self.inputs = {stage["name"]: stage.get("inputs", {}) for stage in plan}
        self.keys = {stage["name"]: stage["key"] for stage in plan}

    def metrics(self, stage: str) -> dict[str, Any]:
        manifest = json.loads((self._stages[stage] / "result/manifest.json").read_text(encoding="utf-8"))
        metrics: dict[str, Any] = manifest["metrics"]
        return metrics

    def table(self, stage: str, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self._stages[stage] / "result" / f"{name}.parquet").to_pylist()
        return rows


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("methods")

    def run(*words: str) -> Finished:
        own = {word.partition("=")[0] for word in words}
        shared = [word for word in (*WORDS, *LIMITS) if word.partition("=")[0] not in own]
        done: subprocess.CompletedProcess[str] = run_inside(["train", *shared, *words], folder, environment())
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return Finished(folder)

    return run


def right(run: Finished, graded: str) -> dict[str, bool]:
    """Row id → whether its first sample is right."""
    return {row["id"]: row["outcome"] == "right" for row in run.table(graded, "grades") if row["sample"] == 0}


def test_a_few_true_solutions_elicit_the_strong_model_and_not_the_weak_one(train: Run) -> None:
    run = train("method=naive_text")
    untuned = run.metrics("untuned_answers")["accuracy"]
    assert untuned < 0.2
    assert run.metrics("ceiling_answers")["accuracy"] > untuned + 0.4
    assert run.metrics("weak_answers")["accuracy"] < run.metrics("ceiling_answers")["accuracy"] - 0.15


def test_agreement_of_the_answers_picks_better_labels_than_all_weak_ones(train: Run) -> None:
    run = train("method=w2s_reasoning")
    weak = right(run, "weak_graded")
    agreed = {row["id"] for row in run.table("weak_agreed", "examples")}
    precision = sum(weak[row] for row in agreed) / len(agreed)
    assert len(agreed) < len(weak)
    assert precision > sum(weak.values()) / len(weak) + 0.1
    answers = [
        {row["id"]: row["answer"] for row in run.table(name, "grades")} for name in ("weak_graded", "icl_graded")
    ]
    assert all(answers[0][row] == answers[1][row] is not None for row in agreed)
    hybrid = run.table("hybrid", "examples")
    assert {row["source"] for row in hybrid} == {"weak_texts", "icl_texts"}


def test_pairs_of_stage_two_take_the_weak_text_for_the_side_of_the_majority(train: Run) -> None:
    # 36 pairs: one epoch has two updates, and before the first one no pair has gained anything
    run = train("method=w2s_reasoning_pairs", "preference.epochs=4", "preference.lr_scale=1")
    majority: dict[str, list[str | None]] = {}
    for row in run.table("samples_graded", "grades"):
        majority.setdefault(row["id"], []).append(row["answer"])
    weak = {row["id"]: row["answer"] for row in run.table("weak_graded", "grades")}
    pairs = run.table("pairs", "pairs")
    for pair in pairs:
        own = majority[pair["id"]]
        modal = max(own, key=own.count)
        assert own.count(modal) >= 6
        assert (pair["chosen_source"] == "weak_texts") == (weak[pair["id"]] == modal)
        assert own.count(modal) >= 8 or pair["chosen_source"] == "weak_texts"
    assert run.metrics("preferred")["preferred"] > 0.5


def test_traces_are_split_by_correctness_and_arms_have_one_size(train: Run) -> None:
    run = train("method=w2sr")
    graded = right(run, "graded")
    sized = [f"{arm}_{by}" for arm in ("all", "right", "wrong") for by in ("rows", "tokens")]
    arms = {name: run.table(name, "examples") for name in ("whole", "right", "wrong", *sized)}
    assert all(graded[row["id"]] for row in arms["right"])
    assert not any(graded[row["id"]] for row in arms["wrong"])
    assert len(arms["right"]) + len(arms["wrong"]) == len(arms["whole"])
    smaller = min(len(arms["right"]), len(arms["wrong"]))
    assert {len(arms[name]) for name in sized if name.endswith("_rows")} == {smaller}
    tokens = {name: sum(row["tokens"] for row in rows) for name, rows in arms.items()}
    fewest = min(tokens["right"], tokens["wrong"])
    assert all(fewest - 64 <= tokens[name] <= fewest for name in sized if name.endswith("_tokens"))
    assert run.metrics("cot_test")["mean_tokens"] != run.metrics("untuned_test")["mean_tokens"]
    metrics = run.metrics("rgr_p")
    assert {"untuned", "cot", "prompted"} <= set(metrics["others"])
    floor = metrics["others"]["untuned"]["accuracy"]
    gap = metrics["ceiling"]["accuracy"] - floor
    assert metrics["pgr"]["value"] == pytest.approx((metrics["student"]["accuracy"] - floor) / gap)


def test_hard_tasks_have_the_asked_share_of_wrong_solutions_and_parts_are_easy(train: Run) -> None:
    run = train("method=guiding")
    levels = {row["id"]: int(row["level"]) for row in run.table("rows:strong_train", "rows")}
    hard, parts = run.table("hard", "examples"), run.table("parts", "examples")
    assert {levels[row["id"]] for row in hard} == {4, 5, 6}
    assert {levels[row["id"]] for row in parts} == {1, 2, 3}
    wrong = [row for row in hard if row["source"] == "hard_texts"]
    assert len(wrong) == round(0.8 * len(hard))
    assert len(run.table("both", "examples")) == len(hard) + len(parts)
    for arm in ("pgr", "pgr_parts", "pgr_both"):  # the parts' own levels are not what is asked
        assert list(run.metrics(arm)["levels"]) == ["4", "5", "6"]
        assert list(run.metrics(f"{arm}_all")["levels"]) == ["1", "2", "3", "4", "5", "6"]


def test_easy_problems_are_learned_and_hard_ones_asked(train: Run) -> None:
    run = train("method=easy_to_hard")
    levels = {row["id"]: row["level"] for row in run.table("rows:strong_train", "rows")}
    assert {levels[row["id"]] for row in run.table("easy_texts", "examples")} == {"1", "2"}
    hard, every = run.metrics("pgr"), run.metrics("pgr_all")
    assert list(hard["levels"]) == ["3", "4", "5", "6"]
    assert hard["rows"] == every["rows"] - sum(every["levels"][level]["rows"] for level in ("1", "2"))
    assert hard["weak"]["accuracy"] < every["weak"]["accuracy"]
    assert hard["student"]["accuracy"] > hard["weak"]["accuracy"]


def test_a_better_texts_difference_lifts_the_policy_above_imitation_tied_pairs_and_reversed_ones(train: Run) -> None:
    # 100 true solutions would bring the policy to the ceiling before it sees a pair
    run = train("method=delta_learning", "weak=arithmetic-xs", "ladder=[arithmetic-s]", "data.limits.weak_val=32")
    arms = ("student", "policy", "imitator", "tied", "reversed")
    right = {arm: run.metrics(f"{arm}_answers")["accuracy"] for arm in arms}
    assert right["student"] > max(right["policy"], right["imitator"]) + 0.1, right
    assert right["student"] > right["tied"] > right["reversed"], right
    assert run.metrics("student")["preferred"] > 0.6
    chosen = {row["id"]: row["chosen"] for row in run.table("pairs", "pairs")}
    assert all(row["rejected"] == chosen[row["id"]] for row in run.table("reversed_pairs", "pairs"))


def test_self_play_mixes_the_round_before_and_plays_its_own_last_self(train: Run) -> None:
    run = train("method=spin", "rounds=3")
    first, second, third = (run.metrics(f"pairs[{number}]") for number in range(3))
    assert first["earlier"] == 0
    assert second["earlier"] == first["pairs"]
    assert third["earlier"] == second["pairs"] - second["earlier"]  # of one round before, not of all
    assert run.inputs["reference[1]"]["model"] == run.inputs["own[1]"]["model"] == run.keys["round[0]"]
    assert {row["chosen_source"] for row in run.table("pairs[1]", "pairs")} == {"weak_texts"}
    assert run.metrics("round[1]")["preferred"] > 0.5


def test_right_solutions_teach_better_than_wrong_ones(train: Run) -> None:
    run = train("method=lbt", "data.limits.test=60", "data.limits.strong_train=60")
    scores = {(row["id"], row["sample"]): row["score"] for row in run.table("exam", "scores")}
    marks = {(row["id"], row["sample"]): row["outcome"] == "right" for row in run.table("graded", "grades")}
    by_mark = {mark: [scores[name] for name in scores if marks[name] == mark] for mark in (True, False)}
    assert set(scores) == set(marks)
    assert all(0 <= score <= 1 for score in scores.values())
    assert by_mark[True]
    assert by_mark[False]
    assert len(run.table("vote", "examples")) == len({row["id"] for row in run.table("test_samples", "completions")})


def test_the_majority_of_own_samples_is_right_more_often_than_a_sample(train: Run) -> None:
    run = train("method=self_training")
    truth = right(run, "graded")
    marks = {(row["id"], row["sample"]): row["outcome"] == "right" for row in run.table("graded", "grades")}
    chosen = [marks[row["id"], row["source_sample"]] for row in run.table("majority", "examples")]
    assert sum(chosen) / len(chosen) > sum(truth.values()) / len(truth)


def test_weak_texts_in_the_prompt_elicit_the_untrained_student(train: Run) -> None:
    run = train("method=few_shot_text")
    assert run.metrics("student_test")["shots"] == {"4": 300}
    assert run.metrics("student_answers")["accuracy"] > run.metrics("untuned_answers")["accuracy"] + 0.2
