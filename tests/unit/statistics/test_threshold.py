"""Untrained thresholds: one class on nearly all rows in spite of a good order of the rows."""

import numpy as np
import pytest

from w2s_cli.statistics.figures import auroc
from w2s_cli.statistics.threshold import untrained_threshold


def flagged(truth, score, threshold=0.0):
    """Whether a two-class model with this margin, moved by its threshold, is flagged."""
    margin = np.asarray(score) - threshold
    p = 1 / (1 + np.exp(-np.stack([-margin, margin], axis=1)))
    truth = np.asarray(truth)
    return untrained_threshold(p, truth, auroc(np.log(p), truth))


@pytest.fixture
def rows():
    """Classes, drawn evenly, and a margin that orders them with an AUROC of about .88."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 1000)
    return truth, rng.standard_normal(1000) + 1.7 * truth - 0.85


@pytest.mark.parametrize("threshold", [-9.0, 9.0, 2.5])
def test_one_class_on_nearly_all_rows_with_a_good_order_is_an_untrained_threshold(rows, threshold):
    assert flagged(*rows, threshold)


def test_a_trained_threshold_and_a_model_without_any_order_are_none(rows):
    truth, score = rows
    assert not flagged(truth, score)
    assert not flagged(
        truth, np.random.default_rng(1).standard_normal(1000), 9.0
    )  # it has learned nothing: no threshold helps
    assert not flagged(truth[:12], np.random.default_rng(1).standard_normal(12), 9.0)  # far from 0.5 by chance
    assert not flagged(np.zeros(10), np.ones(10), 9.0)  # AUROC is undefined


def test_a_reversed_order_is_flagged_too(rows):
    truth, score = rows
    assert flagged(truth, -score, 9.0)


def test_with_a_rare_class_a_model_that_finds_some_of_it_is_not_flagged_and_a_constant_answer_is():
    rng = np.random.default_rng(3)
    truth = (rng.random(4000) < 0.05).astype(int)
    score = rng.standard_normal(4000) + 4 * truth
    assert not flagged(truth, score, 3.0)  # 4 % of the rows are called rare, most of them rightly
    assert flagged(truth, score, 20.0)


def test_three_classes_are_judged_by_the_mean_of_their_areas():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 900)
    logits = rng.standard_normal((900, 3)) + 2 * np.eye(3)[truth]
    for shift, said in ((0.0, False), (20.0, True)):
        moved = logits + np.array([shift, 0, 0])
        p = np.exp(moved) / np.exp(moved).sum(axis=1, keepdims=True)
        assert untrained_threshold(p, truth, auroc(logits, truth)) is said
