"""The parts of the noise of a mean over seeds × test rows, and the interval that other numbers of seeds and rows would have.

* The model is d[s, r] = μ + seed[s] + row[r] + rest[s, r] with independent parts (two-way random effects, one observation a cell). The
  variance of the mean is σ²_seed / S + σ²_row / R + σ²_rest / (S·R).
* The parts are estimated from the mean squares of the two-way table (Searle, Casella & McCulloch 1992, "Variance Components", section 4.5;
  Cornfield & Tukey 1956). An estimate below 0 becomes 0, and is named: few seeds often give one.
* The interval is that of `intervals.bootstrap_means`: a normal row term, and a seed term with Student's t of S − 1 degrees of freedom that
  has the rest too. So the seeds that are added narrow the interval also by their degrees of freedom. Its width is itself random, by the
  spread of the seeds that are drawn: `half_width` is the expected one.
"""

import math
from dataclasses import dataclass

import numpy as np

from w2s_cli.statistics.figures import Floats

GRID = 400  # points of the normal distribution in the sum of a normal and a Student term
SPREADS = 32  # values of the spread of the seeds
STEPS = 40  # halvings of the bounds of a quantile


@dataclass(frozen=True)
class Components:
    """The variances of one cell of seeds × rows."""

    seed: float  # σ²_seed: what another seed changes on all rows alike
    row: float  # σ²_row: what another row changes for all seeds alike
    rest: float  # σ²_rest: of single answers
    negative: tuple[str, ...] = ()  # parts whose estimate was below 0

    def half_width(self, seeds: float, rows: int, confidence: float) -> float:
        """Half the expected width of the interval of the mean over `seeds` (2 or more, or math.inf) and `rows`."""
        normal = math.sqrt(self.row / rows)
        if math.isinf(seeds):
            return _quantile(normal, 0.0, 1, confidence)
        error, freedom = math.sqrt((self.seed + self.rest / rows) / seeds), int(seeds) - 1
        return sum(_quantile(normal, spread * error, freedom, confidence) for spread in _spreads(freedom)) / SPREADS


def components(cells: Floats) -> Components:
    """The components of `cells` [seeds, rows], a difference of right and wrong, say.

    Raises:
        ValueError: fewer than two seeds or rows, which show no noise.
    """
    seeds, rows = cells.shape
    if min(seeds, rows) < 2:
        raise ValueError(f"{seeds} seeds and {rows} rows show no noise of both")
    mean = cells.mean()
    of_seeds, of_rows = cells.mean(axis=1) - mean, cells.mean(axis=0) - mean
    rest = cells - mean - of_seeds[:, None] - of_rows
    squares = {
        "seed": rows * float((of_seeds**2).sum()) / (seeds - 1),
        "row": seeds * float((of_rows**2).sum()) / (rows - 1),
        "rest": float((rest**2).sum()) / ((seeds - 1) * (rows - 1)),
    }
    seed, row = (squares["seed"] - squares["rest"]) / rows, (squares["row"] - squares["rest"]) / seeds
    negative = tuple(name for name, value in (("seed", seed), ("row", row)) if value < 0)
    return Components(max(seed, 0.0), max(row, 0.0), squares["rest"], negative)


def ratio_cells(numerator: Floats, denominator: Floats) -> Floats:
    """Cells [seeds, rows] whose mean moves as the ratio of the means does (the delta method; Cochran 1977, "Sampling Techniques", 2.11).

    Their mean is the ratio. The mean of `denominator` must not be 0.
    """
    gap = denominator.mean()
    ratio = numerator.mean() / gap
    return np.asarray(ratio + (numerator - ratio * denominator) / gap, dtype=np.float64)


def _spreads(freedom: int) -> list[float]:
    """Equally probable values of √(χ²/freedom): the deviation of a sample from a distribution with deviation 1."""
    from scipy.special import gammaincinv

    values = 2 * gammaincinv(freedom / 2, (np.arange(SPREADS) + 0.5) / SPREADS)  # χ²
    return [float(value) for value in np.sqrt(values / freedom)]


def _quantile(normal: float, student: float, freedom: int, confidence: float) -> float:
    """The w with P(|normal · Z + student · T| ≤ w) = confidence, for independent standard normal Z and Student's T."""
    from scipy.special import ndtri, stdtr, stdtrit

    tail = (1 + confidence) / 2
    if not student:
        return float(ndtri(tail)) * normal
    z = normal * ndtri((np.arange(GRID) + 0.5) / GRID)  # [GRID]
    low, high = 0.0, float(ndtri(tail)) * normal + float(stdtrit(freedom, tail)) * student
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = float(stdtr(freedom, (middle - z) / student).mean())
        low, high = (middle, high) if below < tail else (low, middle)
    return (low + high) / 2
