"""The proposals of a search, by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023).

* `propose` is a pure function of the space, the finished trials and a seed. Nothing is kept between two calls, neither a study nor a state
  of a random generator, so a search that was killed proposes the same trials again. Optuna's storages are not used: a JSON is enough.
* A batch is proposed one by one. A trial that has no score yet counts as a bad one (`constant_liar`), so that a batch spreads out.
* The first STARTUP trials are drawn at random. A failed trial is told as one, and the estimator leaves it out.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from w2s_cli.search.record import Trial
from w2s_cli.search.space import Dimension, Interval, Params
from w2s_cli.statistics.draw import fingerprint

if TYPE_CHECKING:
    import optuna

PACKAGE = "optuna"
STARTUP = 10  # Optuna's default


def propose(
    space: Sequence[Dimension], finished: Sequence[Trial], count: int, *, larger: bool, seed: Sequence[int]
) -> list[Params]:
    """The settings of the next `count` trials.

    Args:
        finished: the earlier trials in their order, each scored or failed.
        larger: whether a larger score is better.
        seed: numbers that together seed this call.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar
        sampler = optuna.samplers.TPESampler(
            seed=int(fingerprint("search", *seed)[:8], 16), n_startup_trials=STARTUP, constant_liar=True
        )
        study = optuna.create_study(direction="maximize" if larger else "minimize", sampler=sampler)
        distributions = {dimension.name: _distribution(dimension) for dimension in space}
        for trial in finished:
            study.add_trial(_told(trial, distributions))
        asked = [study.ask(distributions).params for _ in range(count)]
    return [{dimension.name: _value(dimension, params[dimension.name]) for dimension in space} for params in asked]


def _distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(dimension, Interval):
        return CategoricalDistribution(dimension.values)
    low, high = dimension.low, dimension.high
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=dimension.log, step=int(dimension.step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def _told(
    trial: Trial, distributions: "dict[str, optuna.distributions.BaseDistribution]"
) -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState, create_trial

    state = TrialState.FAIL if trial.score is None else TrialState.COMPLETE
    return create_trial(state=state, value=trial.score, params=trial.params, distributions=distributions)


def _value(dimension: Dimension, value: Any) -> Any:
    return dimension.rounded(value) if isinstance(dimension, Interval) else value
