"""A paired bootstrap over seeds × test rows, whose coverage is right with few seeds too.

The accuracy of a role is the mean of a table, seeds × rows, of right and wrong. Both factors are samples:
other seeds and other test rows would give another mean. One draw moves all columns (roles) together, in rows
and in seeds, so differences and ratios of columns are paired. Four decisions, each checked by simulation
in tests/unit/statistics/test_intervals.py:

* Rows are resampled with replacement, one draw for all seeds and roles. Rows with equal values in every
  column are exchangeable, so the draw is a multinomial over distinct patterns: the same distribution, much
  cheaper.
* Seeds are not resampled with replacement. Five seeds resampled so have (S−1)/S of the variance, and normal
  tails instead of Student's (coverage .87 if seeds dominate). Instead every seed's deviation gets a normal
  weight, and the draw is divided by √(χ²/(S−1)). In this multiplier bootstrap every linear combination is
  exactly Student's t with S−1 degrees of freedom.
* The disagreement of seeds on single rows is in both factors. Plain resampling of both counts it two or
  three times (coverage .98, intervals a fifth too wide). It belongs to the seed term, which has its own
  degrees of freedom. So the row deviations are shrunk to the covariance that they would have with infinitely
  many seeds (the two-way random-effects estimate).
* Quantiles of ratios of draws fail for PGR when the denominator is near 0. Fieller's interval holds each θ
  for which 0 lies inside the interval of numerator − θ · denominator. If the denominator itself may be 0,
  every θ is possible, and the answer is "unbounded" (None).

With one seed the draws hold test-row noise only.

A share of rows (an accuracy, an agreement) is no comparison (`share_interval`): its interval depends on its own columns only, so
the same predictions have the same interval in every result. A bootstrap gives a model without an error the interval [1, 1],
which misses every true accuracy below 1. So one seed has Wilson's interval, which Brown, Cai & DasGupta
2001 ("Interval Estimation for a Binomial Proportion") recommend. Several seeds have the bootstrap of their rows and PSEUDO_ROWS
further ones, half of them right: the same remedy as in Wilson's interval, whose centre is the share with z² such rows.
"""

import math
from statistics import NormalDist

import numpy as np

from w2s_cli.statistics.figures import Floats

PSEUDO_ROWS = (1.0, 1.0, 0.0, 0.0)  # Agresti & Coull 1998: z² is 3.84 at 95 %


def bootstrap_means(cells: Floats, draws: int) -> Floats:
    """Joint draws of the columns' means, for `interval` and `ratio_interval`; the same cells give the same draws.

    Args:
        cells: [seeds, rows, columns], one value per seed and test row; the rows are the same for all seeds.
        draws: their number; with 2,000 an interval's half-width varies by about ±4 %.

    Returns:
        [draws, columns].
    """
    seeds, rows, _ = cells.shape
    generator = np.random.default_rng(0)
    mean = cells.mean(axis=(0, 1))  # [columns]
    patterns, count = np.unique(cells.sum(axis=0), axis=0, return_counts=True)  # [patterns, columns]
    deviations = patterns / seeds - mean
    if seeds > 1:
        deviations = deviations @ _row_shrinkage(cells)
    weights = generator.multinomial(rows, count / rows, size=draws)  # [draws, patterns]
    moved = mean + weights @ deviations / rows
    if seeds > 1:
        freedom = seeds - 1
        student_t = generator.standard_normal((draws, seeds))
        student_t /= np.sqrt(generator.chisquare(freedom, size=(draws, 1)) / freedom)
        moved += student_t @ (cells.mean(axis=1) - mean) / np.sqrt(seeds * freedom)
    return np.asarray(moved, dtype=np.float64)


def _row_shrinkage(cells: Floats) -> Floats:
    """The matrix A [columns, columns] that shrinks row means to their spread with infinitely many seeds.

    Σ is the covariance of the row means over S seeds, E the covariance of the cells without the means of
    their row and seed. Σ − E/S is the rows' own covariance (0 in directions where chance makes it negative),
    and AᵀΣA equals it.
    """
    seeds, rows, _ = cells.shape
    mean = cells.mean(axis=(0, 1))
    by_row = cells.mean(axis=0) - mean  # [rows, columns]
    rest = cells - cells.mean(axis=1, keepdims=True) - by_row
    left = np.einsum("srk,srl->kl", rest, rest) / ((seeds - 1) * max(rows - 1, 1))
    covariance = by_row.T @ by_row / max(rows - 1, 1)
    spread = _symmetric_power(covariance - left / seeds, 0.5)
    return np.asarray(_symmetric_power(covariance, -0.5) @ spread, dtype=np.float64)


def _symmetric_power(matrix: Floats, power: float) -> Floats:
    """Power of a symmetric matrix in the directions where it is positive; 0 in the others (columns may depend
    on each other).
    """
    value, direction = np.linalg.eigh(matrix)
    positive = value > 1e-9 * max(float(value.max()), np.finfo(float).tiny)
    powered = np.zeros_like(value)
    powered[positive] = value[positive] ** power
    return np.asarray((direction * powered) @ direction.T, dtype=np.float64)


def interval(draws: Floats, confidence: float) -> tuple[float, float]:
    """The middle `confidence` of the draws of one figure."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def share_interval(part: Floats, whole: Floats, confidence: float, draws: int) -> tuple[float, float] | None:
    """The interval of a share of rows, within [0, 1]; it contains the share, and is never empty.

    One seed: Wilson's interval for a binomial share. Several seeds: the bootstrap over seeds and rows, with PSEUDO_ROWS.

    Args:
        part: [seeds, rows] of 0 and 1, the counted rows.
        whole: [seeds, rows] of 0 and 1, the rows among which they are counted.
        confidence: 0.95 for 95 %.
        draws: of the bootstrap over seeds.

    Returns:
        The bounds, or None if no row is in `whole`.
    """
    counted, rows = float(part.sum()), float(whole.sum())
    if not rows:
        return None
    bounds: tuple[float, float] | None
    if len(part) == 1:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        centre = (counted + z**2 / 2) / (rows + z**2)
        half = z / (rows + z**2) * math.sqrt(counted * (rows - counted) / rows + z**2 / 4)
        bounds = centre - half, centre + half
    else:
        extra = np.tile(PSEUDO_ROWS, (len(part), 1))
        cells = np.hstack([part, extra]), np.hstack([whole, np.ones_like(extra)])
        moved = bootstrap_means(np.stack(cells, axis=-1), draws)
        bounds = ratio_interval(moved[:, 0], moved[:, 1], confidence)
    if bounds is None:
        return None
    share = counted / rows
    return max(min(bounds[0], share), 0.0), min(max(bounds[1], share), 1.0)  # a normal seed term has no bounds


def ratio_interval(numerator: Floats, denominator: Floats, confidence: float) -> tuple[float, float] | None:
    """Fieller's interval of mean(numerator) / mean(denominator) for a positive denominator, by counting draws.

    The share F(θ) of draws with numerator > θ · denominator changes only at the draws' own ratios. The
    interval reaches from the first to the last θ with tail ≤ F(θ) ≤ 1 − tail. With positive denominators only,
    this is the plain percentile interval.

    Args:
        numerator, denominator: [draws], drawn together.

    Returns:
        The bounds, or None if the denominator's own interval reaches down to 0: the ratio is then
        unbounded.
    """
    tail = (1 - confidence) / 2
    if interval(denominator, confidence)[0] <= 0:
        return None
    moving = denominator != 0
    ratios = numerator[moving] / denominator[moving]
    order = np.argsort(ratios, kind="stable")
    step = np.where(denominator[moving][order] > 0, -1, 1)  # above its own ratio a draw leaves the count, or enters it
    start = int((denominator > 0).sum() + (numerator[~moving] > 0).sum())
    after = (start + np.cumsum(step)) / len(numerator)
    before = after - step / len(numerator)
    ratios = ratios[order]
    return float(ratios[np.argmax(after <= 1 - tail)]), float(ratios[np.flatnonzero(before >= tail)[-1]])
