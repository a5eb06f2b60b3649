"""Components of noise: those of a simulation are found again, and the predicted interval is the one that more seeds and rows have."""

import math

import numpy as np
import pytest

from w2s_cli.statistics.components import Components, components, ratio_cells
from w2s_cli.statistics.intervals import bootstrap_means, interval

TRUE = Components(seed=0.02**2, row=0.3**2, rest=0.25**2)


def drawn(seeds: int, rows: int, number: int, true: Components = TRUE) -> np.ndarray:
    """A table [seeds, rows] of the model, in float64, by code of its own."""
    generator = np.random.default_rng(number)
    of_seed = generator.normal(0, math.sqrt(true.seed), (seeds, 1))
    of_row = generator.normal(0, math.sqrt(true.row), (1, rows))
    return np.asarray(0.06 + of_seed + of_row + generator.normal(0, math.sqrt(true.rest), (seeds, rows)))


def test_the_components_of_a_simulation_are_estimated_without_bias() -> None:
    found = [components(drawn(6, 200, number)) for number in range(400)]
    for name in ("seed", "row", "rest"):
        values = np.array([getattr(one, name) for one in found])
        error = values.std() / math.sqrt(len(values))
        bias = 0.1 * TRUE.seed if name == "seed" else 0.0  # estimates below 0 become 0
        assert abs(values.mean() - getattr(TRUE, name)) < 4 * error + bias


def test_the_variance_of_the_mean_is_that_of_the_formula() -> None:
    means = [drawn(4, 150, number).mean() for number in range(4000)]
    formula = TRUE.seed / 4 + TRUE.row / 150 + TRUE.rest / (4 * 150)
    assert np.var(means) == pytest.approx(formula, rel=0.1)


def mean_width(seeds: int, rows: int, experiments: int) -> float:
    """Half the width of the project's own interval, the mean over simulated experiments."""
    widths = []
    for number in range(experiments):
        low, high = interval(bootstrap_means(drawn(seeds, rows, 5000 + number)[:, :, None], 1000)[:, 0], 0.95)
        widths.append((high - low) / 2)
    return float(np.mean(widths))


@pytest.mark.parametrize(("seeds", "rows"), [(3, 100), (5, 150), (10, 60)])
def test_the_expected_width_is_the_mean_width_of_the_bootstraps_interval(seeds: int, rows: int) -> None:
    assert TRUE.half_width(seeds, rows, 0.95) == pytest.approx(mean_width(seeds, rows, 200), rel=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "rows"), [(9, 80), (4, 240), (12, 240)])
def test_a_width_predicted_from_four_seeds_is_that_of_experiments_of_the_other_size(seeds: int, rows: int) -> None:
    predicted = [components(drawn(4, 80, number)).half_width(seeds, rows, 0.95) for number in range(40)]
    assert np.mean(predicted) == pytest.approx(mean_width(seeds, rows, 60), rel=0.12)


def test_the_width_falls_to_that_of_the_rows_with_endless_seeds() -> None:
    widths = [TRUE.half_width(seeds, 500, 0.95) for seeds in (2, 3, 5, 20, 2000, math.inf)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(1.959964 * math.sqrt(TRUE.row / 500))
    assert widths[-2] == pytest.approx(widths[-1], rel=0.01)
    assert TRUE.half_width(5, 500, 0.9) < TRUE.half_width(5, 500, 0.95)


def test_without_row_noise_the_width_is_students_and_without_seed_noise_the_normals() -> None:
    assert Components(0.01, 0.0, 0.0).half_width(5, 100, 0.95) == pytest.approx(
        0.939986 * 2.776445 * 0.1 / math.sqrt(5), rel=2e-3
    )
    assert Components(0.0, 0.04, 0.0).half_width(5, 100, 0.95) == pytest.approx(1.959964 * 0.2 / 10, rel=1e-4)


def test_an_estimate_below_zero_is_zero_and_named() -> None:
    alternating = np.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])  # seeds and rows have equal means
    found = components(alternating)
    assert (found.seed, found.row, found.negative) == (0.0, 0.0, ("seed", "row"))
    with pytest.raises(ValueError, match="1 seeds"):
        components(alternating[:1])


def test_the_cells_of_a_ratio_move_as_the_ratio_does() -> None:
    generator = np.random.default_rng(0)
    ratios, linear = [], []
    for _ in range(3000):
        rows = generator.normal(0, 0.1, (1, 200))
        numerator, denominator = (mean + rows + generator.normal(0, 0.1, (3, 200)) for mean in (0.1, 0.2))
        ratios.append(numerator.mean() / denominator.mean())
        linear.append(ratio_cells(numerator, denominator))
    assert linear[0].mean() == pytest.approx(ratios[0])
    spread = [math.sqrt(one.row / 200 + one.rest / 600 + one.seed / 3) for one in map(components, linear[:200])]
    assert np.std(ratios) == pytest.approx(np.mean(spread), rel=0.1)
