"""The synthetic experiment of Charikar et al. 2024: misfit is gain where the student can express the task, and bounds it elsewhere."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from w2s_cli.errors import UserError
from w2s_cli.stages import theory
from w2s_cli.statistics.misfit_gain import Experiment, point, representations, squared_error_gradient
from w2s_cli.store.context import Context

SMALL = {"tasks": 30, "rows": 4000, "seed": 3}


def made(folder, **params):
    folder.mkdir(parents=True, exist_ok=True)
    metrics = theory.run({**SMALL, **params}, {}, Context(folder, folder, folder))
    return metrics, pq.read_table(folder / "points.parquet").to_pydict()


def test_in_the_realisable_setting_points_lie_on_the_diagonal(tmp_path):
    metrics, points = made(tmp_path, setting="realisable")
    misfit, gain = np.array(points["misfit"]), np.array(points["gain"])
    assert misfit.min() > 0.005  # there is something to gain, and more in some tasks than in others
    assert misfit.max() > 3 * misfit.min()
    np.testing.assert_allclose(gain, misfit, atol=0.03)
    np.testing.assert_allclose(
        points["gain_fit"], points["misfit_fit"], atol=1e-12
    )  # Pythagoras on the student's own rows
    assert metrics["correlation"] > 0.98
    assert metrics["slope"] == pytest.approx(1, abs=0.06)
    assert metrics["intercept"] == pytest.approx(0, abs=0.006)
    assert metrics["mean_distance"] < 0.006
    assert metrics["max_distance_fit"] < 1e-9
    assert metrics["epsilon"] < 1e-9
    assert metrics["share_within_bound"] == 1


def test_the_student_beats_its_supervisor_by_at_least_the_misfit(tmp_path):
    metrics, points = made(tmp_path, setting="realisable", tolerance=0.03)
    error_weak, error_student, misfit = (np.array(points[n]) for n in ("error_weak", "error_student", "misfit"))
    assert (error_student <= error_weak - misfit + 0.03).all()
    assert metrics["share_at_least_misfit"] == 1


@pytest.mark.parametrize("representation", ["perturbed", "pretrained"])
def test_without_realisability_the_distance_stays_within_the_bound_and_is_no_longer_zero(tmp_path, representation):
    sizes = {"rows": 1000, "tasks": 10, "strong_layers": 4, "pretraining_steps": 200, "pretraining_rows": 500}
    metrics, points = made(tmp_path, setting="non_realisable", representation=representation, **sizes)
    distance = np.abs(np.array(points["gain_fit"]) - np.array(points["misfit_fit"]))
    bound = 2 * np.sqrt(np.array(points["epsilon"]) * np.array(points["misfit_fit"]))
    assert (distance <= bound + 1e-12).all()
    assert distance.max() > 1e-3
    assert metrics["share_within_bound"] == 1
    assert metrics["max_distance_fit"] == pytest.approx(distance.max(), abs=1e-9)


def test_a_stronger_student_representation_comes_closer_to_the_diagonal(tmp_path):
    near, _ = made(tmp_path / "near", setting="non_realisable", strong_noise=0.01)
    far, _ = made(tmp_path / "far", setting="non_realisable", strong_noise=0.2)
    assert near["max_distance_fit"] < far["max_distance_fit"] / 3
    assert near["epsilon"] < far["epsilon"] / 10


def test_one_task_recomputed_by_normal_equations():
    experiment = Experiment(setting="non_realisable", seed=5, rows=600)
    networks = representations(experiment)
    found = point(experiment, networks, 7)

    def forward(x, network):
        for i, matrix in enumerate(network):
            x = np.einsum("ri,io->ro", x, matrix)
            if i < len(network) - 1:
                x = np.where(x > 0, x, 0)
        return x

    def solve(features, target):
        return np.linalg.solve(features.T @ features, features.T @ target)

    from w2s_cli.statistics.draw import fingerprint  # the draws of task 7, not its arithmetic

    chance = np.random.default_rng(int(fingerprint("theory", 5, "task", 7), 16))
    head = chance.standard_normal(16)
    first, second, third = (chance.standard_normal((600, 8)) for _ in range(3))
    weak_head = solve(forward(first, networks.weak), forward(first, networks.target) @ head)
    student_head = solve(forward(second, networks.strong), forward(second, networks.weak) @ weak_head)
    truth = forward(third, networks.target) @ head
    weak, student = forward(third, networks.weak) @ weak_head, forward(third, networks.strong) @ student_head
    unit = np.mean(truth**2)
    assert found.error_weak == pytest.approx(np.mean((weak - truth) ** 2) / unit, rel=1e-6)
    assert found.error_student == pytest.approx(np.mean((student - truth) ** 2) / unit, rel=1e-6)
    assert found.misfit == pytest.approx(np.mean((student - weak) ** 2) / unit, rel=1e-6)
    assert found.gain == pytest.approx(found.error_weak - found.error_student)


def test_the_gradient_of_pretraining_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    weights = [rng.standard_normal(shape) for shape in ((3, 5), (5, 4), (4, 2))]

    def loss():
        hidden = np.maximum(x @ weights[0], 0) @ weights[1]
        return np.mean((hidden @ weights[2] - y) ** 2)

    slopes = squared_error_gradient(x, y, weights)
    for matrix, slope in zip(weights, slopes, strict=True):
        for place in np.ndindex(matrix.shape):
            before = matrix[place]
            matrix[place] = before + 1e-6
            above = loss()
            matrix[place] = before - 1e-6
            below = loss()
            matrix[place] = before
            assert slope[place] == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_pretraining_makes_a_representation_that_fits_new_tasks_better():
    sizes = {"rows": 500, "pretraining_rows": 1000, "strong_layers": 3, "representation": "pretrained"}
    errors = []
    for steps in (1, 400):
        experiment = Experiment(setting="non_realisable", pretraining_steps=steps, **sizes)
        networks = representations(experiment)
        errors.append(np.mean([point(experiment, networks, task).epsilon for task in range(5)]))
    assert errors[1] < 0.75 * errors[0]


def test_a_task_does_not_depend_on_how_many_there_are_and_metrics_are_those_of_the_table(tmp_path):
    few, some = made(tmp_path / "few", setting="realisable", tasks=4)
    _, more = made(tmp_path / "more", setting="realisable", tasks=6)
    assert {name: column[:4] for name, column in more.items()} == some
    misfit, gain = np.array(some["misfit"]), np.array(some["gain"])
    slope, intercept = np.polyfit(misfit, gain, 1)
    assert few["slope"] == pytest.approx(slope)
    assert few["intercept"] == pytest.approx(intercept, abs=1e-9)
    assert few["correlation"] == pytest.approx(np.corrcoef(misfit, gain)[0, 1])
    assert few["max_distance"] == pytest.approx(np.abs(gain - misfit).max(), abs=1e-9)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_points(tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        made(tmp_path / name, setting="realisable", tasks=3, rows=100, seed=seed)
    one, two, three = ((tmp_path / name / "points.parquet").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"setting": "realizable"}, "realisable, non_realisable"),
        ({}, "setting is missing"),
        ({"setting": "realisable", "layer": 3}, 'unknown field "layer".*layers'),
        ({"setting": "realisable", "dims": {"width": 0}}, "width=0 must be a whole number"),
        ({"setting": "realisable", "rows": 16}, "more than the width"),
        ({"setting": "realisable", "tasks": 2.5}, "tasks=2.5"),
        ({"setting": "realisable", "weak_noise": math.nan}, "weak_noise=nan"),
        ({"setting": "realisable", "weak_noise": "much"}, "weak_noise=much"),
        ({"setting": "realisable", "tolerance": -1}, "tolerance=-1"),
        ({"setting": "realisable", "representation": "magic"}, "perturbed, pretrained"),
    ],
)
def test_values_without_meaning_are_refused(tmp_path, params, said):
    with pytest.raises(UserError, match=said):
        theory.run(params, {}, Context(tmp_path, tmp_path, tmp_path))


REPLAY = """
import sys
from pathlib import Path
from w2s_cli.store.context import Context
from w2s_cli.stages import theory
folder = Path(sys.argv[1])
theory.run({"setting": "realisable", "seed": 0, "tasks": 3, "rows": 50}, {}, Context(folder, folder, folder))
heavy = {"torch", "transformers", "datasets", "hydra", "omegaconf", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("fault", [None, "theory.start", "theory.step:2"])
def test_a_kill_leaves_a_clean_second_run_that_imports_nothing_heavy(tmp_path, fault):
    command = [sys.executable, "-c", REPLAY, str(tmp_path)]
    place = Path(__file__).parents[3]
    if fault:
        killed = subprocess.run(command, env=os.environ | {"W2S_FAULT": fault}, cwd=place, capture_output=True)
        assert killed.returncode == -signal.SIGKILL
    done = subprocess.run(command, env=os.environ, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
