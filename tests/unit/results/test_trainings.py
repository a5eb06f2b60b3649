"""Figures of the trainings behind a result, over the seeds of separate commands (tests/unit/pipeline/test_methods.py has one command's)."""

import pytest

from w2s_cli.results.trainings import over_runs
from w2s_cli.stages._cautions import comparison


def run(updates, right):
    labels = {} if right is None else {"labels": {"accuracy": right, "per_seed": [right]}}
    return {
        "weak": {"per_seed": {"accuracy": [0.5], "updates": [updates]}},
        "student": {"per_seed": {"accuracy": [0.6], "updates": [2 * updates]}, **labels},
    }


def test_updates_are_listed_and_label_accuracies_averaged_over_seeds():
    joint = {
        "rows": 9,
        "weak": {"per_seed": {"accuracy": [0.5, 0.5]}},
        "student": {"per_seed": {"accuracy": [0.6, 0.6]}},
    }
    joined = over_runs(joint, [run(30, 0.7), run(32, 0.8)])
    assert joined["weak"]["per_seed"] == {"accuracy": [0.5, 0.5], "updates": [30, 32]}
    assert joined["student"]["per_seed"]["updates"] == [60, 64]
    assert joined["student"]["labels"] == {"accuracy": pytest.approx(0.75), "per_seed": [0.7, 0.8]}
    assert "labels" not in over_runs(joint, [run(30, 0.7), run(32, None)])["student"]
    older = run(32, 0.8) | {"weak": {"per_seed": {"accuracy": [0.5]}}}  # a result without updates
    assert over_runs(joint, [run(30, 0.7), older])["weak"] == joint["weak"]


def test_few_updates_name_the_epochs_of_the_training_that_had_them():
    def block(updates, preference):
        return {"per_seed": {"accuracy": [0.5], "updates": [updates]}, "epochs": 2.0, "preference": preference}

    metrics = {"weak": block(300, False), "student": block(10, True), "ceiling": block(40, False)}
    joined = over_runs({role: {"per_seed": {}} for role in metrics}, [metrics])
    assert comparison(joined, {}, {"seeds": [0]}, "tune.epochs") == [
        "Caution: few updates (strong student 10): preference.epochs=40 would give at least 200.",
        "Caution: few updates (strong ceiling 40): tune.epochs=10 would give at least 200.",
    ]
