"""The smallest effect that a planned experiment can show. Standard library only, because `w2s plan` prints it."""

import math
from statistics import NormalDist
from typing import Any

# standard deviation of one model's true accuracy over seeds: training alone, and with training rows drawn anew
TRAINING, REDRAWN = 0.01, 0.02


def noise(seeds: int, *, redrawn: bool) -> str:
    """The sources of noise in a figure over several seeds; `redrawn`: each seed draws its own training rows."""
    if seeds == 1:
        return "test rows only"
    return f"{'training rows, ' if redrawn else ''}training seeds and test rows"


def minimum_detectable(
    rows: int,
    seeds: int,
    *,
    redrawn: bool = True,
    seed_deviation: float | None = None,
    discordant: float = 0.25,
    confidence: float = 0.95,
    power: float = 0.8,
) -> dict[str, Any]:
    """The smallest true difference of two accuracies that a test of `rows` rows and `seeds` seeds shows.

    Paired binomial (McNemar): on one row the difference of right and wrong is −1, 0 or 1, so its variance
    is at most `discordant`, the share of rows on which exactly one of the two is right. 0.25 is conservative
    for two models finetuned for one task (independent models of accuracy .7 and .8 have 0.38). Row noise
    does not fall with seeds, because seeds share the test rows. The seed term has `seed_deviation` per model,
    unpaired, and Student's quantile for its few degrees of freedom. One seed has no such term: the answer
    then holds for test-row noise only.

    Args:
        redrawn: each seed draws its own training rows.
        seed_deviation: standard deviation of one model's true accuracy over seeds; None: TRAINING, or REDRAWN.

    Returns:
        accuracy_difference, noise (its sources).
    """
    if seed_deviation is None:
        seed_deviation = REDRAWN if redrawn else TRAINING
    row_error = math.sqrt(discordant / rows)
    seed_error = seed_deviation * math.sqrt(2 / seeds) if seeds > 1 else 0.0
    tail = (1 + confidence) / 2
    normal = NormalDist().inv_cdf(tail)
    student = student_quantile(tail, seeds - 1) if seeds > 1 else normal
    margin = math.hypot(normal * row_error, student * seed_error)  # half-width of the interval of the difference
    difference = margin + NormalDist().inv_cdf(power) * math.hypot(row_error, seed_error)
    return {
        "accuracy_difference": difference,
        "noise": noise(seeds, redrawn=redrawn),
    }


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile (probability > 0.5) of Student's t, within 1e-6.

    With t = √freedom · tan(angle) the density is cos(angle)^(freedom − 1), which is integrated by the
    midpoint rule.
    """
    steps = 20_000
    width = math.pi / 2 / steps
    density = [math.cos((i + 0.5) * width) ** (freedom - 1) for i in range(steps)]
    missing = (2 * probability - 1) * sum(density)
    for i, part in enumerate(density):
        if part >= missing:
            return math.sqrt(freedom) * math.tan((i + missing / part) * width)
        missing -= part
    raise ValueError(f"no quantile at probability {probability}")
