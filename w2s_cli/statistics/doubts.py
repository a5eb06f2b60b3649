"""Doubts about a comparison: a role whose accuracy says more about its training, or about the test rows, than about what it learned.

* Tables mark such a cell; the cautions say in words what is wrong and what can help.
* at chance: the accuracy is less than NEAR above the share of the largest class, which a constant answer has, and its interval holds it.
* diverged: the mean loss of the last epoch is above that of equal guesses, twice. For a training on texts it is the loss of its own first
  update, or that of an equal guess between two texts if this is higher. A loss that is not finite ends its stage instead.
"""

import math
from collections.abc import Mapping
from typing import Any

from w2s_cli.statistics import ROLES

FLAGS = ("untrained_threshold", "constant_answer", "diverged")  # of a role, one a seed
NEAR = 0.03
MOST = 2.0  # times the loss that a model has without the training, above which the training has diverged
TOKENS = math.log(2**18)  # nats of an equal guess among the tokens of a large vocabulary


def has_diverged(loss: float, classes: int | None, first: float | None = None) -> bool:
    """Whether a training with this mean loss in its last epoch has unlearned more than it learned.

    Args:
        classes: among which a classifier chooses; None: a training on texts or pairs of texts, whose losses have no common scale.
        first: the loss of its first update; None: not recorded.
    """
    if classes:
        return loss > MOST * math.log(classes)
    return loss > MOST * (TOKENS if first is None else max(first, math.log(2)))


def weak_at_chance(metrics: Mapping[str, Any]) -> bool:
    """Whether the weak supervisor may be no better than a constant answer."""
    weak, majority = metrics.get("weak"), metrics.get("majority")
    if not weak or majority is None:
        return False
    return bool(weak["accuracy"] - majority < NEAR and weak["interval"][0] <= majority)


def is_doubtful(metrics: Mapping[str, Any]) -> bool:
    """Whether a role of a comparison has a flag, or the weak supervisor is at chance."""
    flags = [metrics.get(role, {}).get("per_seed", {}).get(flag, ()) for role in ROLES for flag in FLAGS]
    return any(map(any, flags)) or weak_at_chance(metrics)
