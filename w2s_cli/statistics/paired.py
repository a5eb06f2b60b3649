"""Paired tests of two methods over data sets (or any other units): Student's t and Wilcoxon's signed ranks, one- and two-sided.

* A unit is one data set, averaged over its rows and seeds. So n is small, and no normal approximation is used. Wilcoxon's p is exact
  with ties too (all 2^n signs of the mid-ranks are counted). Differences of 0 are dropped first, as Wilcoxon did.
* Differences are rounded to 9 decimals before the ranking: results have 10, and the last bits of a subtraction would break ties.
* With fewer than three pairs there is no test: t would rest on one difference of differences, and Wilcoxon's p could not fall below 0.5.
  An undefined test (t of equal differences) has none either. Its figures are None.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DECIMALS = 9
LEAST = 3  # pairs of a test
UNDEFINED = {"statistic": None, "p": None, "p_greater": None, "p_less": None}


def paired_tests(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """Tests whether `a` is above `b`, unit by unit.

    Args:
        a, b: [units], one figure per unit, paired by position.

    Returns:
        n, mean (of a − b), deviation (standard, n − 1), t and wilcoxon: each with statistic, p (two-sided), p_greater
        (a above b) and p_less. Wilcoxon's statistic is the sum of the ranks of positive differences; its `n` does not count
        differences of 0.

    Raises:
        ValueError: different lengths.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    differences = [round(float(x) - float(y), DECIMALS) for x, y in zip(a, b, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n if n else None
    deviation = math.sqrt(math.fsum((d - (mean or 0)) ** 2 for d in differences) / (n - 1)) if n > 1 else None
    return {
        "n": n,
        "mean": mean,
        "deviation": deviation,
        "t": _student(mean or 0.0, deviation, n),
        "wilcoxon": _wilcoxon(differences),
    }


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of several p values (Holm 1979); None stays None and does not count."""
    order = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        adjusted[place] = largest
    return adjusted


def _student(mean: float, deviation: float | None, n: int) -> dict[str, Any]:
    if (
        n < LEAST or not deviation or deviation < 10**-DECIMALS
    ):  # equal differences: t would be infinite, or rounding noise
        return dict(UNDEFINED)
    statistic = mean / (deviation / math.sqrt(n))
    upper = student_tail(abs(statistic), n - 1)
    greater = upper if statistic > 0 else 1 - upper
    return {"statistic": statistic, "p": min(1.0, 2 * upper), "p_greater": greater, "p_less": 1 - greater}


def student_tail(t: float, freedom: int) -> float:
    """P(T > t) of Student's t for t ≥ 0: half the regularised incomplete beta function I_x(freedom/2, 1/2) at
    x = freedom / (freedom + t²).
    """
    return 0.5 * _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised I_x(a, b) by its continued fraction (Press et al., Numerical Recipes, section 6.4), to about 1e-14."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 500):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + part * d, tiny)
            c = _not_zero(1 + part / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _wilcoxon(differences: Sequence[float]) -> dict[str, Any]:
    moved = np.array([d for d in differences if d != 0], dtype=np.float64)
    n = len(moved)
    if n < LEAST:
        return {"n": n, **UNDEFINED}
    _, place, count = np.unique(np.abs(moved), return_inverse=True, return_counts=True)
    doubled = np.round(2 * (np.cumsum(count) - (count - 1) / 2)[place]).astype(
        int
    )  # [n], twice the mid-ranks: whole numbers
    share = np.zeros(int(doubled.sum()) + 1)  # how many of all signs have this sum of positive doubled ranks
    share[0] = 1.0
    for rank in doubled:
        moved_up = np.zeros_like(share)
        moved_up[rank:] = share[: len(share) - rank]
        share = (share + moved_up) / 2
    positive = int(doubled[moved > 0].sum())
    greater, less = float(share[positive:].sum()), float(share[: positive + 1].sum())
    return {
        "n": n,
        "statistic": positive / 2,
        "p": min(1.0, 2 * min(greater, less)),
        "p_greater": min(1.0, greater),
        "p_less": min(1.0, less),
    }
