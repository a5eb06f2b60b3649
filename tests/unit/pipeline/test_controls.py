"""Controls and true-label budgets: what they keep of the supervisor's labels, and what they destroy."""

import numpy as np
import pytest

from tests.unit.selection.test_selection import apply, changed, clusters
from w2s_cli.errors import UserError
from w2s_cli.selection import Labels

CONTROLS = ("random_labels", "matched_noise", "truth_mix")


def noisy(rows=3000, classes=3, wrong=0.25, seed=0):
    """A supervisor whose errors lie in one corner of the features (where the first is large), and the truth."""
    labels, truth, _ = clusters(rows=rows, classes=classes, wrong=0.0, seed=seed)
    rng = np.random.default_rng(seed)
    corner = np.argsort(-labels.features[:, -1])[: round(wrong * rows)]
    said = truth.copy()
    said[corner] = (truth[corner] + 1) % classes
    p = rng.dirichlet(np.ones(classes), rows) * 0.3 + 0.7 * np.eye(classes)[said]
    covered = rng.random(rows) < 0.9
    return changed(labels, p=p, covered=covered, truth=truth), truth


def association(wrong, feature):
    """Difference of the mean of a standardised feature between wrong and right rows, in standard errors."""
    feature = (feature - feature.mean()) / feature.std()
    error = np.sqrt(1 / wrong.sum() + 1 / (~wrong).sum())
    return abs(feature[wrong].mean() - feature[~wrong].mean()) / error


def test_random_labels_know_nothing_but_the_class_balance():
    labels, truth = noisy()
    found = apply("random_labels", labels)
    inside = labels.covered
    np.testing.assert_array_equal(found.covered, inside)
    np.testing.assert_array_equal(found.p[~inside], labels.p[~inside])
    assert sorted(map(tuple, found.p[inside])) == sorted(map(tuple, labels.p[inside]))  # the same soft labels
    said, before = found.p[inside].argmax(1), labels.p[inside].argmax(1)
    chance = (np.bincount(said) / len(said)) @ (np.bincount(truth[inside]) / len(said))
    assert (before == truth[inside]).mean() > 0.7
    assert (said == truth[inside]).mean() == pytest.approx(chance, abs=0.035)
    assert (said == before).mean() == pytest.approx(((np.bincount(said) / len(said)) ** 2).sum(), abs=0.035)
    assert (
        association(said == 0, labels.features[inside, 0]) < 3.5 < association(before == 0, labels.features[inside, 0])
    )
    assert (apply("random_labels", changed(labels, seed=1)).p != found.p).any()


@pytest.mark.parametrize("classes", [2, 3])
def test_matched_noise_has_exactly_as_many_errors_but_anywhere(classes):
    labels, truth = noisy(classes=classes)
    found = apply("matched_noise", labels)
    inside = labels.covered
    before, now = (p[inside].argmax(1) != truth[inside] for p in (labels.p, found.p))
    assert now.sum() == before.sum() == found.diagnostics["wrong"]
    assert set(np.unique(found.p[inside])) == {0.0, 1.0}
    corner = labels.features[inside, -1]
    assert association(before, corner) > 30
    assert association(now, corner) < 3.5
    expected = before.sum() ** 2 / len(before)  # by chance
    assert found.diagnostics["still_wrong"] == pytest.approx(expected, abs=4 * np.sqrt(expected))
    if classes == 3:  # both wrong classes come
        step = (found.p[inside].argmax(1) - truth[inside])[now] % 3
        assert np.bincount(step)[1:] / now.sum() == pytest.approx([0.5, 0.5], abs=0.08)


def test_matched_noise_can_keep_the_confusion_matrix_or_the_soft_labels():
    labels, truth = noisy()
    inside = labels.covered

    def confusion(p):
        return [np.bincount(p[inside].argmax(1)[truth[inside] == one], minlength=3).tolist() for one in range(3)]

    hard = apply("matched_noise", labels, match="confusion")
    soft = apply("matched_noise", labels, match="labels")
    assert confusion(hard.p) == confusion(soft.p) == confusion(labels.p)
    assert confusion(apply("matched_noise", labels).p) != confusion(labels.p)
    assert set(np.unique(hard.p[inside])) == {0.0, 1.0}
    for one in range(3):
        rows = inside & (truth == one)
        assert sorted(map(tuple, soft.p[rows])) == sorted(map(tuple, labels.p[rows]))
    for found in (hard, soft):
        wrong = found.p[inside].argmax(1) != truth[inside]
        assert association(wrong, labels.features[inside, -1]) < 3.5


def test_truth_mix_replaces_a_share_and_all_of_it_is_the_truth():
    labels, truth = noisy()
    shares = [apply("truth_mix", labels, share=share) for share in (0.0, 0.3, 0.6, 1.0)]
    inside = labels.covered
    np.testing.assert_array_equal(shares[0].p, labels.p)
    np.testing.assert_array_equal(shares[3].p[inside], np.eye(3)[truth[inside]])
    accuracy = [(found.p.argmax(1) == truth)[inside].mean() for found in shares]
    assert accuracy == sorted(accuracy)
    assert accuracy[1] == pytest.approx(accuracy[0] + 0.3 * (1 - accuracy[0]), abs=0.02)
    replaced = [(found.p != labels.p).any(1) for found in shares]
    assert [int(one.sum()) for one in replaced] == [round(share * inside.sum()) for share in (0, 0.3, 0.6, 1)]
    assert not (replaced[1] & ~replaced[2]).any()  # nested
    assert all((found.covered == inside).all() for found in shares)


def test_budgets_are_met_and_placed():
    labels, truth = noisy()
    found = {
        placement: apply("truth_budget", labels, rows=500, placement=placement)
        for placement in ("random", "uncertain", "oracle_wrong")
    }
    gained = {}
    for placement, one in found.items():
        bought = (one.p == np.eye(3)[truth]).all(1)
        assert bought.sum() == 500 == one.diagnostics["true_labels"]
        assert one.covered[bought].all()
        np.testing.assert_array_equal(one.covered, labels.covered | bought)
        np.testing.assert_array_equal(one.p[~bought], labels.p[~bought])
        gained[placement] = ((labels.p.argmax(1) != truth) & labels.covered & bought).sum()
        assert one.diagnostics["wrong_replaced"] == gained[placement]
        assert one.diagnostics["weak_labels"] == (labels.covered & ~bought).sum()
    uncertain = (found["uncertain"].p == np.eye(3)[truth]).all(1)
    assert uncertain[~labels.covered].all()  # rows without a label come first
    sure = labels.p.max(1)
    assert sure[uncertain & labels.covered].max() <= sure[~uncertain & labels.covered].min()
    wrong = ((labels.p.argmax(1) != truth) | ~labels.covered).sum()
    assert wrong > 500
    missing = (~labels.covered).sum() * 500 / wrong  # the oracle draws among wrong and missing ones
    assert gained["oracle_wrong"] == pytest.approx(500 - missing, abs=40)
    assert gained["oracle_wrong"] > 2 * gained["random"]
    everything = apply("truth_budget", labels, share=1.0, placement="oracle_wrong")
    np.testing.assert_array_equal(everything.p, np.eye(3)[truth])


def test_a_budget_may_stand_alone_or_with_a_part_of_the_weak_labels():
    labels, _ = noisy()
    alone = apply("truth_budget", labels, share=0.1, weak_share=0.0)
    assert alone.covered.sum() == 300
    half = apply("truth_budget", labels, share=0.1, weak_share=0.5)
    rest = (labels.covered & ~alone.covered).sum()
    assert half.covered.sum() == 300 + round(rest / 2)
    assert not (alone.covered & ~half.covered).any()
    larger = apply("truth_budget", labels, share=0.2, weak_share=0.0)
    assert not (alone.covered & ~larger.covered).any()


def test_what_happens_to_a_row_does_not_depend_on_the_others():
    """Truth drawn by id: dropping or turning rows leaves the draws of the rest, so their order, as they were."""
    labels, truth = noisy(rows=200)
    turned = np.arange(199, -1, -1)
    other = Labels(
        [labels.ids[i] for i in turned], labels.p[turned], labels.covered[turned], None, truth[turned], labels.seed
    )
    for rule, args in [*((name, {}) for name in CONTROLS), ("truth_budget", {"rows": 20})]:
        one, two = apply(rule, labels, **args), apply(rule, other, **args)
        np.testing.assert_array_equal(one.p, two.p[turned])
        np.testing.assert_array_equal(one.covered, two.covered[turned])


@pytest.mark.parametrize(
    ("rule", "args", "said"),
    [
        ("matched_noise", {"match": "errors"}, "is unknown.* Known: confusion, labels, rate"),
        ("truth_mix", {"share": 2.0}, "between 0 and 1"),
        ("truth_budget", {}, "either select.args.share or select.args.rows"),
        ("truth_budget", {"share": 0.1, "rows": 5}, "the other one null"),
        ("truth_budget", {"rows": 5000}, "the pool has 200 rows"),
        ("truth_budget", {"rows": 5, "placement": "best"}, "is unknown.* Known: oracle_wrong, random, uncertain"),
    ],
)
def test_options_without_meaning_are_refused(rule, args, said):
    with pytest.raises(UserError, match=said):
        apply(rule, noisy(rows=200)[0], **args)


@pytest.mark.parametrize("rule", ["matched_noise", "truth_mix", "truth_budget"])
def test_rules_that_need_the_truth_say_so_without_it(rule):
    labels, _ = noisy(rows=200)
    with pytest.raises(UserError, match="NEEDS_TRUTH"):
        apply(rule, changed(labels, truth=None), **({"rows": 5} if rule == "truth_budget" else {}))
