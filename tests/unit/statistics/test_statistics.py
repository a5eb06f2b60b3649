"""The figures against scikit-learn, SciPy and hand-made sums; the report over seeds; what a plan can show."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from w2s_cli.statistics.figures import (
    accuracy,
    auroc,
    calibration_error,
    median_recovered,
    misfit,
    recovered,
)
from w2s_cli.statistics.intervals import bootstrap_means, interval
from w2s_cli.statistics.planning import minimum_detectable, student_quantile
from w2s_cli.statistics.report import ROLES, Predictions, report


def softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def made_up(rows=400, classes=2, seed=0, digits=6):
    """Logits [rows, classes] that know something of the truth [rows]; few digits make ties."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    logits = rng.standard_normal((rows, classes)) + 0.8 * np.eye(classes)[truth]
    return np.round(logits, digits), truth


# --- figures -------------------------------------------------------------------------------------------------


def test_accuracy_counts_the_argmax_and_a_tie_goes_to_the_lower_class():
    p = np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    assert accuracy(p, np.array([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("digits", [0, 1, 6])  # 0: nearly everything is tied
def test_auroc_of_the_margin_is_that_of_sklearn_with_ties(digits):
    logits, truth = made_up(digits=digits)
    assert auroc(logits, truth) == pytest.approx(roc_auc_score(truth, logits[:, 1] - logits[:, 0]), abs=1e-12)


def test_auroc_counts_pairs_ties_as_half():
    logits, truth = made_up(rows=60, digits=1)
    margin = logits[:, 1] - logits[:, 0]
    pairs = np.sign(np.round(margin[truth == 1][:, None] - margin[truth == 0][None, :], 9))
    assert auroc(np.round(logits, 1), truth) == pytest.approx((pairs + 1).mean() / 2, abs=2e-3)


def test_auroc_orders_rows_whose_probabilities_are_both_one_in_float32():
    logits = np.array([[0.0, 20.0], [0.0, 30.0], [0.0, 19.0], [0.0, 31.0]])
    assert len(set(softmax(logits)[:, 1].astype(np.float32))) == 1
    assert auroc(logits, np.array([0, 1, 0, 1])) == 1.0


def test_auroc_of_many_classes_is_the_mean_of_each_against_the_rest():
    logits, truth = made_up(classes=5)
    margins = [logits[:, c] - np.delete(logits, c, 1).max(1) for c in range(5)]
    expected = np.mean([roc_auc_score(truth == c, margins[c]) for c in range(5)])
    assert auroc(logits, truth) == pytest.approx(expected, abs=1e-12)


def test_auroc_of_one_class_is_undefined_and_not_one_half():
    logits, _ = made_up(rows=5)
    assert auroc(logits, np.ones(5, dtype=int)) is None


def test_auroc_takes_logarithms_of_probability_zero():
    with np.errstate(divide="ignore"):
        logits = np.log(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]))
    assert auroc(logits, np.array([0, 1, 1, 1])) == pytest.approx((1 + 0.5 + 1) / 3)


@pytest.mark.parametrize("classes", [2, 4])
def test_calibration_error_is_the_weighted_gap_of_the_bins(classes):
    logits, truth = made_up(classes=classes)
    p = softmax(logits)
    confidence, right = p.max(1), p.argmax(1) == truth
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(p, truth) == pytest.approx(expected, abs=1e-12)


def test_a_calibrated_model_has_no_calibration_error_and_a_sure_wrong_one_has_one():
    sure = np.tile([0.0, 1.0], (10, 1))
    assert calibration_error(sure, np.ones(10, dtype=int)) == 0
    assert calibration_error(sure, np.zeros(10, dtype=int)) == 1
    assert calibration_error(np.tile([0.2, 0.8], (10, 1)), np.array([1] * 8 + [0] * 2)) == pytest.approx(0)


def test_misfit_is_squared_distance_and_cross_entropy_to_the_weak_probabilities():
    logits, truth = made_up(classes=3)
    p, weak = softmax(logits), softmax(made_up(classes=3, seed=1)[0])
    found = misfit(logits, p, weak, truth)
    kl_plus_entropy = stats.entropy(weak, p, axis=1) + stats.entropy(weak, axis=1)
    one_hot = np.eye(3)[truth]
    assert found["cross_entropy"] == pytest.approx(kl_plus_entropy.mean(), abs=1e-10)
    assert found["squared"] == pytest.approx(3 * np.mean((p - weak) ** 2), abs=1e-12)
    assert found["gain"] == pytest.approx(
        3 * np.mean((weak - one_hot) ** 2) - 3 * np.mean((p - one_hot) ** 2), abs=1e-12
    )
    hard = misfit(logits, p, one_hot, truth)["cross_entropy"]
    assert hard == pytest.approx(log_loss(truth, p), abs=1e-10)


def test_pgr_is_not_clipped_and_undefined_without_a_gap():
    assert recovered(0.6, 0.7, 0.8) == pytest.approx(0.5)
    assert recovered(0.6, 0.5, 0.8) == pytest.approx(-0.5)
    assert recovered(0.6, 0.9, 0.8) == pytest.approx(1.5)
    assert recovered(0.6, 0.7, 0.6) is None


def test_median_pgr_drops_a_model_paired_with_itself_and_ceilings_not_above_the_weak_one():
    def pair(weak_model, strong_model, weak, student, ceiling):
        return {
            "weak_model": weak_model,
            "strong_model": strong_model,
            "weak": weak,
            "student": student,
            "ceiling": ceiling,
        }

    pairs = [
        pair("a", "b", 0.6, 0.65, 0.7),
        pair("a", "c", 0.6, 0.62, 0.8),
        pair("b", "c", 0.7, 0.78, 0.8),
        pair("a", "a", 0.6, 0.9, 0.61),
        pair("c", "d", 0.8, 0.7, 0.79),
        pair("c", "e", 0.8, 0.7, 0.8),
    ]
    assert median_recovered(pairs) == {
        "median": pytest.approx(0.5),
        "kept": 3,
        "same_model": 1,
        "ceiling_not_above_weak": 2,
    }
    assert median_recovered([])["median"] is None


# --- the report ----------------------------------------------------------------------------------------------


def said(cells, truth, roles=ROLES):
    """Predictions of two classes that are right where `cells` [seeds, rows, roles] is 1."""
    out = {}
    for i, role in enumerate(roles):
        classes = np.where(cells[..., i] == 1, truth, 1 - truth)
        logits = np.stack([-0.5 * (2 * classes - 1), 0.5 * (2 * classes - 1)], axis=-1).astype(float)
        out[role] = Predictions(softmax(logits), logits)
    return out


def reported(accuracies=(0.7, 0.75, 0.85), seeds=3, rows=600, roles=ROLES, **options):
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, rows)
    cells = (rng.random((seeds, rows, len(roles))) < accuracies).astype(float)
    return report(truth, said(cells, truth, roles), draws=500, confidence=0.95, **options), cells


def test_report_states_ratio_of_means_and_mean_of_ratios():
    metrics, cells = reported()
    by_seed = cells.mean(1)
    weak, student, ceiling = by_seed.mean(0)
    ratios = [recovered(*row) for row in by_seed]
    assert metrics["pgr"]["value"] == pytest.approx((student - weak) / (ceiling - weak))
    assert metrics["pgr"]["per_seed"] == pytest.approx(ratios)
    assert metrics["pgr"]["mean_of_ratios"] == pytest.approx(np.mean(ratios))
    assert metrics["student"]["per_seed"]["accuracy"] == pytest.approx(list(by_seed[:, 1]))
    low, high = metrics["pgr"]["interval"]
    assert low < metrics["pgr"]["value"] < high
    assert metrics["noise"] == "training seeds and test rows"
    assert reported(redrawn=True)[0]["noise"] == "training rows, training seeds and test rows"


def test_agreement_is_split_by_whether_the_supervisor_is_right():
    metrics, cells = reported()
    weak, student = cells[..., 0], cells[..., 1]
    agree = weak == student  # two classes: the same rows right
    agreement = metrics["agreement"]
    assert agreement["overall"]["value"] == pytest.approx(agree.mean())
    assert agreement["when_weak_right"]["value"] == pytest.approx(agree[weak == 1].mean())
    assert agreement["when_weak_wrong"]["value"] == pytest.approx(agree[weak == 0].mean())
    for part in agreement.values():
        assert part["interval"][0] < part["value"] < part["interval"][1]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_roles_accuracy_interval_depends_on_its_own_predictions_only(seeds):
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 500)
    weak = (rng.random((seeds, 500)) < 0.7).astype(float)
    found = []
    for level in (0.75, 0.9):  # another student and another ceiling
        others = (rng.random((seeds, 500, 2)) < level).astype(float)
        cells = np.concatenate([weak[..., None], others], axis=-1)
        found.append(report(truth, said(cells, truth), draws=300, confidence=0.95))
    alone = report(truth, said(weak[..., None], truth, ("weak",)), draws=300, confidence=0.95)
    assert found[0]["weak"] == found[1]["weak"] == alone["weak"]
    assert found[0]["student"] != found[1]["student"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_compares_roles_is_drawn_for_all_of_them_together(seeds):
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 500)
    cells = (rng.random((seeds, 500, 3)) < (0.7, 0.7, 0.9)).astype(float)
    cells[..., 1] = cells[..., 0]  # the student has learnt to be its supervisor
    metrics = report(truth, said(cells, truth), draws=300, confidence=0.95)
    assert metrics["differences"]["student_minus_weak"]["interval"] == pytest.approx([0, 0], abs=1e-9)
    assert metrics["pgr"]["interval"] == pytest.approx([0, 0], abs=1e-9)
    assert metrics["weak"]["interval"] == metrics["student"]["interval"]


def test_one_seed_says_test_row_noise_only():
    metrics, _ = reported(seeds=1)
    assert metrics["noise"] == "test rows only"
    assert metrics["seeds"] == 1


def test_a_gap_within_its_own_noise_is_flagged_and_leaves_pgr_unbounded():
    metrics, _ = reported(accuracies=(0.75, 0.76, 0.76))
    low, high = metrics["differences"]["ceiling_minus_weak"]["interval"]
    assert low <= 0 <= high
    assert metrics["pgr"]["flags"] == ["gap_is_noise"]
    assert metrics["pgr"]["interval"] is None
    assert "unbounded" in metrics["pgr"]["note"]


def test_a_ceiling_below_the_weak_supervisor_is_flagged():
    metrics, _ = reported(accuracies=(0.85, 0.75, 0.6))
    assert metrics["pgr"]["flags"] == ["ceiling_below_weak"]
    assert metrics["pgr"]["interval"] is None


def test_report_holds_what_the_present_roles_allow():
    metrics, _ = reported(accuracies=(0.75, 0.85), roles=("student", "ceiling"))
    assert set(metrics["differences"]) == {"ceiling_minus_student"}
    assert not {"weak", "pgr", "agreement", "misfit"} & set(metrics)


def test_report_is_json_without_nan_even_where_figures_are_undefined():
    truth = np.ones(20, dtype=np.int64)  # one class, all models right, no gap, no wrong weak label
    metrics = report(truth, said(np.ones((2, 20, 3)), truth), draws=100, confidence=0.95)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["weak"]["auroc"] is None
    assert metrics["pgr"]["value"] is None
    assert metrics["pgr"]["flags"] == ["gap_is_noise"]
    assert metrics["agreement"]["when_weak_wrong"] == {"value": None, "interval": None}


# --- before a run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 4, 9, 50])
def test_student_quantile_is_that_of_scipy(freedom):
    for probability in (0.9, 0.975, 0.995):
        assert student_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-5)


def test_minimum_detectable_difference_is_the_binomial_formula_with_one_seed():
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * np.sqrt(0.25 / 1000)
    found = minimum_detectable(1000, 1)
    assert found["accuracy_difference"] == pytest.approx(expected)
    assert found["noise"] == "test rows only"


def test_minimum_detectable_difference_falls_with_rows_and_seeds():
    def difference(rows, seeds):
        return minimum_detectable(rows, seeds)["accuracy_difference"]

    assert difference(4000, 5) < difference(1000, 5)
    assert difference(1000, 10) < difference(1000, 5) < difference(1000, 3)


def test_a_difference_of_that_size_is_shown_in_about_four_runs_of_five():
    rows, rng, shown = 1000, np.random.default_rng(0), 0
    found = minimum_detectable(rows, 1)["accuracy_difference"]
    for _ in range(300):  # one of the two is right on a quarter of the rows
        kind = rng.choice(3, size=rows, p=[0.75, 0.125 - found / 2, 0.125 + found / 2])
        cells = np.stack([kind != 2, kind != 1], axis=-1)[None].astype(float)
        shown += interval(np.subtract(*bootstrap_means(cells, 500).T[::-1]), 0.95)[0] > 0
    assert 0.74 < shown / 300 < 0.9
