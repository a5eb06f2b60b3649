"""Delta learning's theory: the exact accuracy of a direction, and the sign of what an update does."""

import numpy as np
import pytest

from w2s_cli.statistics.delta import Setting, accuracy, outcome


@pytest.mark.parametrize("cosine", [-0.3, 0.0, 0.2, 0.5, 0.9])
def test_the_accuracy_of_a_direction_is_that_of_a_million_drawn_inputs(cosine: float) -> None:
    x = np.random.default_rng(0).standard_normal((1_000_000, 2))  # a plane holds both directions
    guessed = cosine * x[:, 0] + np.sqrt(1 - cosine**2) * x[:, 1] > 0
    assert accuracy(cosine) == pytest.approx((guessed == (x[:, 0] > 0)).mean(), abs=0.002)


@pytest.mark.parametrize(
    ("better", "worse", "helps"),
    [(0.4, 0.2, True), (0.4, 0.0, True), (0.3, 0.2, True), (0.2, 0.4, False), (0.4, 0.4, False)],
)
def test_an_update_helps_iff_the_chosen_teacher_is_better_though_both_are_worse_than_the_student(
    better: float, worse: float, helps: bool
) -> None:
    results = [outcome(Setting(better, worse, seed=seed)) for seed in range(5)]
    gain = np.mean([one.best - one.start for one in results])
    assert all(one.start == pytest.approx(accuracy(0.5)) and one.start > one.teacher for one in results)
    assert (gain > 1e-3) == helps
    assert (
        np.mean([one.far for one in results]) < results[0].start
    )  # too large a step leaves the student's own direction
    assert np.mean([one.imitation for one in results]) == pytest.approx(accuracy(better), abs=0.01)


def test_a_setting_draws_the_same_numbers_again_and_others_with_another_seed() -> None:
    assert outcome(Setting(0.4, 0.2, rows=500)) == outcome(Setting(0.4, 0.2, rows=500))
    assert outcome(Setting(0.4, 0.2, rows=500)) != outcome(Setting(0.4, 0.2, rows=500, seed=1))
