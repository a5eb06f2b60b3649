"""Paired t and Wilcoxon against scipy and against all sign patterns counted by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from w2s_cli.statistics.paired import holm, paired_tests, student_tail


@pytest.mark.parametrize("n", [3, 5, 8, 21, 60])
@pytest.mark.parametrize("shift", [-0.05, 0.0, 0.02])
def test_t_and_wilcoxon_are_scipys_on_continuous_values(n: int, shift: float) -> None:
    draw = np.random.default_rng(n)
    a, b = draw.normal(0.7 + shift, 0.1, n), draw.normal(0.7, 0.1, n)
    found = paired_tests(list(a), list(b))
    for ours, theirs in (("p", "two-sided"), ("p_greater", "greater"), ("p_less", "less")):
        t = stats.ttest_rel(a, b, alternative=theirs)
        w = stats.wilcoxon(a, b, alternative=theirs, method="exact")
        assert found["t"][ours] == pytest.approx(t.pvalue, abs=1e-7)
        assert found["wilcoxon"][ours] == pytest.approx(w.pvalue, abs=1e-10)
    assert found["t"]["statistic"] == pytest.approx(stats.ttest_rel(a, b).statistic, rel=1e-6)
    assert found["wilcoxon"]["statistic"] == stats.wilcoxon(a, b, alternative="greater").statistic
    assert found["mean"] == pytest.approx(float(np.mean(a - b)), abs=1e-9)


def test_wilcoxon_with_ties_and_zeros_counts_every_sign_pattern() -> None:
    a = [0.9, 0.8, 0.7, 0.6, 0.5, 0.6, 0.4]
    b = [0.8, 0.7, 0.8, 0.6, 0.2, 0.4, 0.3]  # 0.1, 0.1, -0.1, 0, 0.3, 0.2, 0.1, each with rounding errors of its own
    differences = np.array([1, 1, -1, 3, 2, 1])
    ranks = stats.rankdata(np.abs(differences))
    observed = ranks[differences > 0].sum()
    sums = np.array([ranks[np.array(signs, bool)].sum() for signs in itertools.product((0, 1), repeat=len(ranks))])
    found = paired_tests(a, b)["wilcoxon"]
    assert found["n"] == 6
    assert found["statistic"] == observed
    assert found["p_greater"] == pytest.approx(np.mean(sums >= observed))
    assert found["p_less"] == pytest.approx(np.mean(sums <= observed))
    assert found["p"] == pytest.approx(min(1, 2 * min(np.mean(sums >= observed), np.mean(sums <= observed))))


@pytest.mark.parametrize("t", [0.0, 1e-6, 0.5, 1.96, 12.0, 80.0])
@pytest.mark.parametrize("freedom", [1, 2, 7, 30, 1000])
def test_the_tail_of_student_is_exact(t: float, freedom: int) -> None:
    assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-9, abs=1e-300)


def test_what_has_no_test_is_none_and_unequal_lengths_are_refused() -> None:
    for n in range(3):  # with two pairs scipy has p = 0.3 and 0.5, which show nothing
        few = paired_tests([0.5, 0.8][:n], [0.4, 0.3][:n])
        assert [few[test][figure] for test in ("t", "wilcoxon") for figure in ("statistic", "p", "p_less")] == [
            None
        ] * 6
    assert paired_tests([], [])["mean"] is None
    same = paired_tests([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    assert same["t"]["p"] is None  # no spread: t would be infinite
    assert same["wilcoxon"]["p_greater"] == pytest.approx(1 / 8)
    assert paired_tests([0.5, 0.6], [0.5, 0.6])["wilcoxon"]["p"] is None
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_tests([0.5], [])


def test_holm_multiplies_by_the_tests_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
