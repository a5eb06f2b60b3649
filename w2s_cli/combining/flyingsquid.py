"""FlyingSquid label model (Fu et al. 2020): accuracies from triplets of supervisors, in closed form.

Votes are −1 and +1, and so is y. For supervisors that are independent given the class, E[L_i L_j] = E[L_i y] E[L_j y], so
for any two others |E[L_i y]| = sqrt |E[L_i L_j] E[L_i L_k] / E[L_j L_k]|. The positive root assumes supervisors better than
chance. The choice of the two others changes only the noise, so the result is the mean over all triplets (AutoWS-Bench-101's
"triplet_mean") or the median.

* A moment is computed over the rows on which all its supervisors vote: abstaining is no evidence about the class.
* A triplet with a denominator below `smallest` is left out: chance agreement would decide it.
* moments=raw, the paper's, is exact for supervisors with equal accuracy on both classes. moments=centred uses covariances,
  Cov(L_i, L_j) = Var(y) d_i d_j with 2 d_i = E[L_i | +1] − E[L_i | −1], and is exact for all supervisors.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Lt

from w2s_cli.combining import (
    ABSTAINED,
    Combined,
    Votes,
    active,
    class_balance,
    covered,
    from_log,
    hard,
    need_one_of,
    need_supervisors,
    smallest_probability,
)
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats, Integers

NEEDS_THREE = True


def flyingsquid(
    votes: Votes,
    *,
    aggregate: Literal["mean", "median"] = "mean",
    moments: Literal["raw", "centred"] = "raw",
    smallest: Annotated[float, Lt(1)] = 0.01,
) -> Combined:
    """Posterior P(y | L) ∝ π_y Π_{j votes on i} P(L_ij | y), with P(L_j | y) from the triplets and the mean of L_j.

    Args:
        votes: hard votes of at least three supervisors on two classes; votes.prior is the class balance π.
        aggregate: mean or median over the triplets of a supervisor.
        moments: raw or centred.
        smallest: triplets with a denominator below it are left out.

    Returns:
        diagnostics: triplets (used, by supervisor), class_balance, right_given_class [supervisors, class],
        estimated_accuracy [supervisors]; None for a supervisor that never votes.

    Raises:
        UserError: more than two classes, fewer than three supervisors, a class balance with a class of 0, a supervisor
            without a usable triplet.
    """
    need_one_of(aggregate, ("mean", "median"), "combine.args.aggregate")
    need_one_of(moments, ("raw", "centred"), "combine.args.moments")
    if votes.p.shape[2] != 2:
        raise UserError(
            f"combine=flyingsquid is for 2 classes, these labels have {votes.p.shape[2]}; use combine=dawid_skene"
        )
    need_supervisors(votes, 3, "flyingsquid", "it compares triplets of supervisors")
    balance, rows = class_balance(votes), votes.p.shape[1]
    if not (balance > 0).all():
        raise UserError(
            f"combine=flyingsquid: the class balance {balance.tolist()} has a class that never comes; set prior"
        )
    chosen, voters = hard(votes), np.flatnonzero(active(votes))
    strength, used = _strengths(_pairs(chosen[voters], balance, moments), aggregate, smallest)
    if (used == 0).any():
        raise UserError(
            f"combine=flyingsquid: supervisor {voters[used == 0][0] + 1} has no triplet with agreement above "
            f"smallest={smallest}: the others vote together no more than by chance. Use better supervisors or another rule"
        )
    mean = np.array([np.mean(2 * v[v != ABSTAINED] - 1) for v in chosen[voters]])  # E[L_j]
    right = _right_given_class(strength, mean, balance, moments)  # [voters, class]
    edge = smallest_probability(rows)
    log_right, log_wrong = (np.log(np.clip(side, edge, 1 - edge)) for side in (right, 1 - right))
    scores = np.tile(np.log(balance), (rows, 1))
    for j, votes_of_one in enumerate(chosen[voters]):
        for vote in (0, 1):
            evidence = log_wrong[j].copy()
            evidence[vote] = log_right[j, vote]
            scores[votes_of_one == vote] += evidence
    diagnostics = {
        "class_balance": balance.tolist(),
        "triplets": _spread(used.tolist(), voters, len(chosen)),
        "right_given_class": _spread(right.tolist(), voters, len(chosen)),
        "estimated_accuracy": _spread((right @ balance).tolist(), voters, len(chosen)),
    }
    return from_log(scores, covered(votes), votes, diagnostics)


def _pairs(chosen: Integers, balance: Floats, moments: str) -> Floats:
    """E[L_i L_j] (or the covariance over Var(y)) over rows on which both vote, [voters, voters]; NaN without such rows."""
    voted = (chosen != ABSTAINED).astype(np.float64)
    sign = np.where(chosen == ABSTAINED, 0, 2 * chosen - 1).astype(np.float64)
    both = voted @ voted.T
    both[both == 0] = np.nan
    product: Floats = sign @ sign.T / both
    if moments == "raw":
        return np.asarray(product)
    mean: Floats = sign @ voted.T / both  # of i, over the rows on which j votes too
    return np.asarray((product - mean * mean.T) / (4 * balance[0] * balance[1]))


def _strengths(pairs: Floats, aggregate: str, smallest: float) -> tuple[Floats, Integers]:
    """|E[L_i y]| (centred: d_i), at most 1, and the number of its triplets; [voters] each."""
    count = len(pairs)
    strength, used = np.zeros(count), np.zeros(count, dtype=np.int64)
    for i in range(count):
        others = np.delete(np.arange(count), i)
        j, k = (others[side] for side in np.triu_indices(count - 1, 1))
        usable = np.abs(pairs[j, k]) >= smallest  # NaN is not
        usable &= np.isfinite(pairs[i, j]) & np.isfinite(pairs[i, k])
        j, k = j[usable], k[usable]
        used[i] = len(j)
        if len(j):
            roots = np.sqrt(np.abs(pairs[i, j] * pairs[i, k] / pairs[j, k]))
            strength[i] = min(1.0, float(np.mean(roots) if aggregate == "mean" else np.median(roots)))
    return strength, used


def _right_given_class(strength: Floats, mean: Floats, balance: Floats, moments: str) -> Floats:
    """P(L_j = y | y) for y = −1 and +1, [s, 2], in [0, 1]."""
    tilt = balance[1] - balance[0]  # E[y]
    if moments == "raw":  # P(L, y) from E[L], E[y], E[L y]
        down, up = (1 - mean - tilt + strength) / 4, (1 + mean + tilt + strength) / 4
        right = np.stack([down / balance[0], up / balance[1]], axis=1)
    else:  # E[L | ±1] from E[L] and their difference
        right = np.stack([(1 - (mean - strength * (1 + tilt))) / 2, (1 + mean + strength * (1 - tilt)) / 2], axis=1)
    return np.asarray(np.clip(right, 0.0, 1.0))


def _spread(values: list[object], voters: Integers, count: int) -> list[object]:
    """`values` of the supervisors with votes, at their places among all supervisors; None for the others."""
    spread: list[object] = [None] * count
    for place, value in zip(voters, values, strict=True):
        spread[int(place)] = value
    return spread
