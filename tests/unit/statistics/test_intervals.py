"""The bootstrap against theory, SciPy and simulation: spread, pairing, bounds of a ratio, coverage of PGR."""

import time
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from w2s_cli.statistics.figures import recovered
from w2s_cli.statistics.intervals import bootstrap_means, interval, ratio_interval, share_interval


def simulated(rng, accuracies, seed_deviation, seeds=5, rows=500, row=0.4, own=0.2, together=0.0):
    """Right and wrong [seeds, rows, roles] whose expectation over seeds and rows is known.

    A role is right on a row where a latent difficulty lies below a level; `row` of its variance is shared by all
    roles, `own` by all seeds of a role; seeds move the level (`together`: the part that moves all roles).
    """
    roles = len(accuracies)
    shift = np.sqrt(together) * rng.standard_normal((seeds, 1))
    shift = shift + np.sqrt(1 - together) * rng.standard_normal((seeds, roles))
    level = stats.norm.ppf(np.clip(np.array(accuracies) + seed_deviation * shift, 0.01, 0.99))
    difficulty = np.sqrt(row) * rng.standard_normal((1, rows, 1)) + np.sqrt(own) * rng.standard_normal((1, rows, roles))
    difficulty = difficulty + np.sqrt(1 - row - own) * rng.standard_normal((seeds, rows, roles))
    return (difficulty < level[:, None, :]).astype(np.float64)


def pgr_interval(cells, draws=1000):
    weak, student, ceiling = bootstrap_means(cells, draws).T
    return ratio_interval(student - weak, ceiling - weak, 0.95)


def covered(accuracies, seed_deviation, simulations, **options):
    """Share of simulated experiments whose interval holds the true PGR, share unbounded, median width, and the width
    3.92 · sd of the estimate itself would have."""
    rng = np.random.default_rng(7)
    true = recovered(*accuracies)
    hits, unbounded, widths, estimates = 0, 0, [], []
    for _ in range(simulations):
        cells = simulated(rng, accuracies, seed_deviation, **options)
        bounds = pgr_interval(cells)
        unbounded += bounds is None
        hits += bounds is None or bounds[0] <= true <= bounds[1]
        if bounds is not None:
            widths.append(bounds[1] - bounds[0])
        estimates.append(recovered(*cells.mean((0, 1))))
    spread = np.subtract(*np.quantile(estimates, [0.975, 0.025]))
    return hits / simulations, unbounded / simulations, float(np.median(widths)), float(spread)


SETTINGS = [  # accuracies of weak, student, ceiling; seed deviation; shape of the noise
    ((0.70, 0.73, 0.80), 0.01, {}),
    ((0.70, 0.73, 0.80), 0.02, {"row": 0.8, "own": 0.19}),  # seeds dominate: plain resampling covers .87
    ((0.70, 0.73, 0.80), 0.02, {"together": 0.6}),
    ((0.60, 0.66, 0.80), 0.02, {"row": 0.6, "own": 0.39}),
    ((0.85, 0.87, 0.95), 0.01, {}),
    ((0.70, 0.76, 0.80), 0.015, {"together": 0.6}),
    ((0.70, 0.70, 0.80), 0.01, {}),
    ((0.70, 0.73, 0.80), 0.0, {}),
]


@pytest.mark.slow
def test_pgr_interval_covers_the_truth_at_5_seeds_and_500_rows():
    results = [covered(accuracies, deviation, 100, **noise) for accuracies, deviation, noise in SETTINGS]
    coverage = np.mean([share for share, *_ in results])
    assert 0.92 <= coverage <= 0.985, results  # 800 experiments: the standard error is 0.008
    assert min(share for share, *_ in results) >= 0.92 - 2.5 * np.sqrt(0.92 * 0.08 / 100), results
    for _, unbounded, width, spread in results:
        assert unbounded < 0.1  # it covers by knowing, not by shrugging
        assert (
            width < 1.7 * spread
        )  # nor by being wide: Student's quantile at 4 degrees of freedom is 1.42 of the normal


@pytest.mark.slow
@pytest.mark.parametrize(("accuracies", "deviation", "noise"), SETTINGS)
def test_pgr_interval_covers_the_truth_in_each_setting(accuracies, deviation, noise):
    share, unbounded, width, spread = covered(accuracies, deviation, 1000, **noise)
    assert share >= 0.92, (share, unbounded, width, spread)
    assert width < 1.7 * spread


def test_with_one_seed_the_draws_are_a_bootstrap_of_rows():
    cells = simulated(np.random.default_rng(0), (0.7, 0.8), 0.0, seeds=1, rows=400)
    draws = bootstrap_means(cells, 20_000)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(cells[0].T, bias=True) / 400, rtol=0.06)
    difference = cells[0, :, 1] - cells[0, :, 0]
    expected = stats.bootstrap((difference,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    low, high = expected.confidence_interval
    assert interval(draws[:, 1] - draws[:, 0], 0.95) == pytest.approx((low, high), abs=0.003)


def test_with_no_row_noise_the_interval_is_student_t_over_seeds():
    accuracies = np.array([0.70, 0.72, 0.69, 0.73, 0.71])
    cells = np.repeat(accuracies[:, None, None], 50, axis=1)
    expected = stats.t.interval(0.95, 4, loc=accuracies.mean(), scale=stats.sem(accuracies))
    assert interval(bootstrap_means(cells, 100_000)[:, 0], 0.95) == pytest.approx(expected, abs=1e-3)


def accuracy_interval(right, confidence=0.95, draws=2000):
    return share_interval(right, np.ones_like(right), confidence, draws)


@pytest.mark.parametrize(
    ("rows", "right"), [(1, 1), (1, 0), (7, 3), (60, 60), (60, 0), (60, 59), (540, 299), (2500, 1733)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_one_seeds_accuracy_has_wilsons_interval_which_is_not_empty_at_the_ends(rows, right, confidence):
    column = np.zeros((1, rows))
    column[0, :right] = 1
    found = accuracy_interval(column, confidence, draws=1)  # whatever the draws
    expected = stats.binomtest(right, rows).proportion_ci(confidence, method="wilson")
    assert found == pytest.approx(tuple(expected), abs=1e-12)
    assert 0 <= found[0] <= right / rows <= found[1] <= 1
    assert found[0] < found[1]


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_all_right_or_all_wrong_model_is_not_certain_with_any_number_of_seeds(seeds, confidence, share):
    low, high = accuracy_interval(np.full((seeds, 60), share), confidence)
    assert (high if share else low) == share
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    assert high - low > 0.5 * z**2 / (60 + z**2)  # at least half the width of Wilson's interval for one seed


def test_the_share_of_a_part_of_the_rows_has_the_interval_of_these_rows():
    rng = np.random.default_rng(1)
    whole = (rng.random((1, 300)) < 0.4).astype(float)
    part = whole * (rng.random((1, 300)) < 0.8)
    expected = stats.binomtest(int(part.sum()), int(whole.sum())).proportion_ci(method="wilson")
    assert share_interval(part, whole, 0.95, 1) == pytest.approx(tuple(expected), abs=1e-12)
    assert share_interval(0 * part, 0 * whole, 0.95, 1) is None
    seeds = (rng.random((4, 300)) < 0.5).astype(float)
    assert share_interval(seeds, seeds, 0.95, 500)[0] < 0.99  # all of them, in each seed


def test_near_certain_models_are_covered_over_seeds_as_others_are():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        row, own = rng.standard_normal((1, 100)), rng.standard_normal((5, 100))
        right = (np.sqrt(0.6) * row + np.sqrt(0.4) * own < stats.norm.ppf(0.999)).astype(float)
        low, high = accuracy_interval(right, draws=300)
        hits += low <= 0.999 <= high
    assert hits / 300 > 0.87  # the bootstrap alone covers it a third of the time


def test_several_seeds_accuracy_has_the_interval_of_both_noises_and_stays_a_share():
    cells = simulated(np.random.default_rng(4), (0.75,), 0.02)[..., 0]
    seeds, rows = cells.shape
    rng = np.random.default_rng(9)
    rest = cells - cells.mean(1, keepdims=True) - cells.mean(0) + cells.mean()
    own = cells.mean(0).var(ddof=1) - (rest**2).sum() / ((seeds - 1) * (rows - 1)) / seeds  # rows, seeds aside
    drawn = cells.mean() + np.sqrt(own / rows) * rng.standard_normal(400_000)
    drawn += stats.sem(cells.mean(1)) * rng.standard_t(seeds - 1, 400_000)
    expected = np.quantile(drawn, [0.025, 0.975])
    found = accuracy_interval(cells, draws=20_000)
    assert found == pytest.approx(expected, abs=0.04 * (expected[1] - expected[0]))
    uneven = np.array([[1.0] * 20, [1.0] * 20, [1.0] * 15 + [0.0] * 5])
    assert accuracy_interval(uneven)[1] == 1.0


def test_spread_of_the_draws_is_the_two_way_random_effects_estimate():
    cells = simulated(np.random.default_rng(3), (0.7, 0.73, 0.8), 0.02, seeds=40)  # many seeds: t is nearly normal
    seeds, rows, _ = cells.shape
    draws = bootstrap_means(cells, 50_000)
    for weights in ([1, 0, 0], [-1, 1, 0], [-0.7, 1, -0.3]):
        one = cells @ np.array(weights, dtype=float)
        grand, by_seed, by_row = one.mean(), one.mean(1), one.mean(0)
        rest = one - by_seed[:, None] - by_row + grand
        between_seeds = rows * by_seed.var(ddof=1)
        between_rows = seeds * by_row.var(ddof=1)
        left = (rest**2).sum() / ((seeds - 1) * (rows - 1))
        expected = (between_seeds + between_rows - left) / (seeds * rows)
        inflation = (seeds - 1) / (seeds - 3)  # variance of Student's t, on the seed part
        expected += (inflation - 1) * between_seeds / (seeds * rows)
        assert (draws @ weights).var() == pytest.approx(expected, rel=0.04)


def test_roles_are_drawn_together_so_equal_roles_never_differ():
    one = simulated(np.random.default_rng(0), (0.7,), 0.02)
    draws = bootstrap_means(np.concatenate([one, one], axis=-1), 500)
    np.testing.assert_allclose(draws[:, 0], draws[:, 1], atol=1e-12)


def test_draws_are_the_same_every_time():
    cells = simulated(np.random.default_rng(0), (0.7, 0.8), 0.02)
    np.testing.assert_array_equal(bootstrap_means(cells, 100), bootstrap_means(cells, 100))


def test_two_thousand_draws_of_five_seeds_and_ten_thousand_rows_take_less_than_a_second():
    cells = simulated(np.random.default_rng(0), (0.7, 0.73, 0.8), 0.02, rows=10_000)
    start = time.process_time()
    bootstrap_means(cells, 2000)
    assert time.process_time() - start < 1


def test_ratio_interval_is_the_percentile_interval_while_denominators_are_positive():
    rng = np.random.default_rng(0)
    numerator, denominator = rng.normal(0.03, 0.01, 5000), rng.normal(0.1, 0.01, 5000)
    expected = np.quantile(numerator / denominator, [0.025, 0.975])
    assert ratio_interval(numerator, denominator, 0.95) == pytest.approx(expected, abs=1e-3)


def test_ratio_interval_is_fiellers_where_the_denominator_is_uncertain():
    rng = np.random.default_rng(0)
    top, bottom, sd_top, sd_bottom, z = 0.03, 0.1, 0.03, 0.045, NormalDist().inv_cdf(0.975)
    bounds = ratio_interval(rng.normal(top, sd_top, 400_000), rng.normal(bottom, sd_bottom, 400_000), 0.95)
    # (top − θ·bottom)² = z² (sd_top² + θ² sd_bottom²), solved for θ
    roots = np.roots([bottom**2 - z**2 * sd_bottom**2, -2 * top * bottom, top**2 - z**2 * sd_top**2])
    assert bounds == pytest.approx(np.sort(roots), rel=0.03)


def test_ratio_interval_is_unbounded_where_the_denominator_may_be_nothing():
    rng = np.random.default_rng(0)
    assert ratio_interval(rng.normal(0.03, 0.01, 2000), rng.normal(0.01, 0.01, 2000), 0.95) is None


def test_ratio_interval_of_draws_that_do_not_vary_is_a_point():
    assert ratio_interval(np.full(100, 0.03), np.full(100, 0.1), 0.95) == pytest.approx((0.3, 0.3))
