"""The proposals of a search: a pure function of space, trials and seed, within the space, and better than chance."""

import numpy as np
import pytest

from w2s_cli.search.record import Trial
from w2s_cli.search.sampler import STARTUP, propose
from w2s_cli.search.space import Choices, Dimension, Interval, Params

SPACE: list[Dimension] = [
    Interval("strong.lr", 1e-6, 1e-2, log=True),
    Interval("student.batch_size", 8, 64, step=8),
    Choices("loss", ("xent", "logconf")),
]


def score(params: Params) -> float:
    """Best at 1e-4, whatever the rest."""
    return -abs(np.log10(float(params["strong.lr"])) + 4)


def scored(params: Params) -> Trial:
    return Trial(params, "scored", score(params), [score(params)])


def test_the_same_trials_give_the_same_proposals_in_any_batch_size() -> None:
    finished = [scored(params) for params in propose(SPACE, [], 12, larger=True, seed=[0, 0, 0])]
    assert len(finished) > STARTUP  # the estimator proposes, no longer chance
    four = propose(SPACE, finished, 4, larger=True, seed=[0, 0, 3])
    assert propose(SPACE, finished, 4, larger=True, seed=[0, 0, 3]) == four
    assert propose(SPACE, finished, 2, larger=True, seed=[0, 0, 3]) == four[:2]
    assert propose(SPACE, finished, 4, larger=True, seed=[1, 0, 3]) != four
    assert propose(SPACE, finished[:-1], 4, larger=True, seed=[0, 0, 3]) != four


def test_proposals_lie_in_the_space_and_have_few_digits() -> None:
    for params in propose(SPACE, [], 50, larger=True, seed=[7, 0, 0]):
        assert 1e-6 <= float(params["strong.lr"]) <= 1e-2
        assert len(f"{params['strong.lr']:e}".rstrip("0").partition("e")[0].rstrip("0")) <= 5  # 1.234
        assert params["student.batch_size"] in range(8, 65, 8)
        assert params["loss"] in ("xent", "logconf")
    narrow = Interval("x", 0.123456, 0.123457)
    assert all(narrow.has(narrow.rounded(value)) for value in np.linspace(0.123456, 0.123457, 9))


@pytest.mark.parametrize("larger", [True, False])
def test_later_batches_come_closer_to_the_best_setting_than_chance(larger: bool) -> None:
    sign = 1 if larger else -1
    finished: list[Trial] = []
    for batch in range(10):
        params = propose(SPACE, finished, 4, larger=larger, seed=[0, 0, batch])
        finished += [Trial(one, "scored", sign * score(one), [sign * score(one)]) for one in params]
    distance = [-score(trial.params) for trial in finished]
    assert np.mean(distance[-12:]) < 0.6 * np.mean(distance[:STARTUP])


def test_a_failed_trial_does_not_stop_the_search_and_is_no_score() -> None:
    finished = [scored(params) for params in propose(SPACE, [], 12, larger=True, seed=[0, 0, 0])]
    failed = [*finished, Trial(finished[0].params, "failed", why="the loss is nan")]
    assert len(propose(SPACE, failed, 4, larger=True, seed=[0, 0, 3])) == 4
    assert propose(SPACE, [Trial(finished[0].params, "failed")], 2, larger=True, seed=[0, 0, 1])


def test_the_ends_of_a_dimension_lie_in_it() -> None:
    for dimension in [*SPACE, Interval("x", 0.2, 0.9), Interval("n", 2, 3), Interval("s", 0.0, 1.0, step=0.25)]:
        assert all(dimension.has(value) for value in dimension.ends())
    assert Interval("s", 0.0, 1.0, step=0.25).ends()[2] in (0.25, 0.5, 0.75)
