"""Combination rules: against independent NumPy, and on voters whose accuracies are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from w2s_cli.combining import Combined, Votes, load_rule

ROWS = 20_000
UNEVEN = [0.9, 0.7, 0.62, 0.62, 0.6, 0.6, 0.6]  # one good voter among weak ones
ASYMMETRIC = [[0.9, 0.6], [0.6, 0.9], [0.8, 0.8], [0.7, 0.9], [0.75, 0.65]]  # right on class 0, on class 1
COVERAGE = [0.9, 0.5, 0.8, 1.0, 0.6, 0.7, 0.9]


def voters(
    accuracies: Sequence[Any], positive: float = 0.5, coverage: Sequence[float] | None = None, seed: int = 0
) -> tuple[np.ndarray, Votes]:
    """Truth, and conditionally independent voters who are right with `accuracies` (one number, or one per class)."""
    rng = np.random.default_rng(seed)
    right = np.array([np.broadcast_to(a, 2) for a in accuracies])  # [supervisors, class]
    truth = (rng.random(ROWS) < positive).astype(int)
    said = np.where(rng.random((len(right), ROWS)) < right[:, truth], truth, 1 - truth)
    share = np.ones(len(right)) if coverage is None else np.array(coverage)
    voted = rng.random(said.shape) < share[:, None]
    return truth, Votes(np.eye(2)[said], voted, prior=np.array([1 - positive, positive]))


def votes_of(rows: Sequence[Sequence[int]], classes: int = 2, **more: Any) -> Votes:
    """Hard votes, [row][supervisor] → class, −1 abstains (its probabilities are NaN: nobody may read them)."""
    table = np.array(rows).T  # [supervisors, rows]
    p = np.where((table == -1)[..., None], np.nan, np.eye(classes)[table])
    return Votes(p, table != -1, **more)


def soft_votes(supervisors: int = 4, rows: int = 50, classes: int = 3, seed: int = 0, **more: Any) -> Votes:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), (supervisors, rows))
    return Votes(p, rng.random((supervisors, rows)) < 0.7, **more)


def accuracy(combined: Combined, truth: np.ndarray) -> float:
    return float((combined.p.argmax(1) == truth)[combined.covered].mean())


def normalised(row: np.ndarray) -> np.ndarray:
    shares: np.ndarray = row / row.sum()
    return shares


# -- known voters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["dawid_skene", "metal", "flyingsquid"])
@pytest.mark.parametrize(
    ("accuracies", "positive", "coverage"),
    [
        ([0.9, 0.8, 0.75, 0.7, 0.65], 0.5, None),
        ([0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.65], 0.3, COVERAGE),
        ([0.85, 0.8, 0.8, 0.75, 0.75, 0.7, 0.7, 0.65, 0.65, 0.65], 0.2, None),
    ],
    ids=["balanced", "abstaining, 30 % positive", "ten voters, 20 % positive"],
)
def test_accuracies_of_independent_voters_are_found(
    rule: str, accuracies: list[float], positive: float, coverage: list[float] | None
) -> None:
    truth, votes = voters(accuracies, positive, coverage)
    found = load_rule(rule)(votes)
    np.testing.assert_allclose(found.diagnostics["estimated_accuracy"], accuracies, atol=0.02)
    assert found.diagnostics.get("converged", True)
    confidence = found.p[found.covered].max(1).mean()
    assert confidence == pytest.approx(accuracy(found, truth), abs=0.01)  # soft labels are calibrated


@pytest.mark.parametrize("positive", [0.3, 0.5])
def test_voters_that_know_one_class_better_are_found_out(positive: float) -> None:
    _, votes = voters(ASYMMETRIC, positive)
    blind = Votes(votes.p, votes.voted)  # no prior: Dawid-Skene estimates it
    ds = load_rule("dawid_skene")(blind).diagnostics
    np.testing.assert_allclose([np.diag(theta) for theta in ds["confusion"]], ASYMMETRIC, atol=0.02)
    np.testing.assert_allclose(ds["class_balance"], [1 - positive, positive], atol=0.02)
    mu = np.array(load_rule("metal")(votes).diagnostics["vote_given_class"])
    np.testing.assert_allclose([np.diag(one) for one in mu], ASYMMETRIC, atol=0.02)
    squid = load_rule("flyingsquid")(votes, moments="centred").diagnostics
    np.testing.assert_allclose(squid["right_given_class"], ASYMMETRIC, atol=0.025)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["dawid_skene", "metal", "flyingsquid"])
def test_a_label_model_beats_the_majority_where_accuracies_differ_a_lot(rule: str) -> None:
    truth, votes = voters(UNEVEN)
    majority = accuracy(load_rule("majority")(votes), truth)
    assert accuracy(load_rule(rule)(votes), truth) > majority + 0.05
    weights = np.log(np.array(UNEVEN) / (1 - np.array(UNEVEN)))
    known = load_rule("weighted")(Votes(votes.p, votes.voted, weights, prior=votes.prior), pool="bayes")
    assert accuracy(load_rule(rule)(votes), truth) == pytest.approx(accuracy(known, truth), abs=0.01)


@pytest.mark.parametrize("rule", ["dawid_skene", "metal", "flyingsquid"])
def test_voters_that_copy_each_other_are_thought_too_good(rule: str) -> None:
    """The known limit: three of five voters err together, so that what is estimated is no accuracy."""
    _, votes = voters([0.7, 0.7, 0.7, 0.7, 0.7])
    rng = np.random.default_rng(1)
    copies = rng.random((2, ROWS, 1)) < 0.8
    p = np.concatenate([votes.p[:3], np.where(copies, votes.p[0], votes.p[3:])])
    estimated = load_rule(rule)(Votes(p, votes.voted, prior=votes.prior)).diagnostics["estimated_accuracy"]
    assert estimated[0] > 0.8


def test_dawid_skene_tells_three_classes_apart() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, ROWS, p=[0.5, 0.3, 0.2])
    confusion = np.array([rng.dirichlet(np.ones(3), 3) * 0.4 + 0.6 * np.eye(3) for _ in range(5)])
    said = np.array([[rng.choice(3, p=theta[c]) for c in truth[:6000]] for theta in confusion])
    found = load_rule("dawid_skene")(Votes(np.eye(3)[said], np.ones_like(said, bool)))
    np.testing.assert_allclose(found.diagnostics["confusion"], confusion, atol=0.04)
    assert accuracy(found, truth[:6000]) > accuracy(
        load_rule("majority")(Votes(np.eye(3)[said], np.ones_like(said, bool))), truth[:6000]
    )


# -- formulas ----------------------------------------------------------------------------------------------------------


def test_ensembles_are_the_means_of_those_who_vote() -> None:
    votes = soft_votes()
    mean, logit = load_rule("mean_probability")(votes), load_rule("mean_logit")(votes)
    for row in range(votes.p.shape[1]):
        given = [votes.p[s, row] for s in range(4) if votes.voted[s, row]]
        assert mean.covered[row] == logit.covered[row] == bool(given)
        if given:
            np.testing.assert_allclose(mean.p[row], sum(given) / len(given))
            product = np.prod([g ** (1 / len(given)) for g in given], axis=0)
            np.testing.assert_allclose(logit.p[row], normalised(product), rtol=1e-9)


@pytest.mark.parametrize("pool", ["mean", "vote", "log", "bayes"])
def test_weighted_pools_are_their_formulas(pool: str) -> None:
    weights, prior = np.array([1.5, 0.2, -0.7, 0.0]), np.array([0.2, 0.3, 0.5])
    votes = soft_votes(weights=weights, prior=prior)
    found = load_rule("weighted")(votes, pool=pool)
    for row in range(votes.p.shape[1]):
        who = [s for s in range(4) if votes.voted[s, row] and (weights[s] > 0 or (pool == "bayes" and weights[s] != 0))]
        assert found.covered[row] == bool(who)
        said = {s: np.eye(3)[votes.p[s, row].argmax()] for s in who}
        total = sum(weights[s] for s in who)
        expected = prior
        if who and pool == "mean":
            expected = sum(weights[s] * votes.p[s, row] for s in who)
        elif who and pool == "vote":
            expected = sum(weights[s] * said[s] for s in who)
        elif who and pool == "log":
            expected = np.prod([votes.p[s, row] ** (weights[s] / total) for s in who], axis=0)
        elif who:
            expected = prior * np.exp(sum(weights[s] * said[s] for s in who))
        np.testing.assert_allclose(found.p[row], normalised(np.asarray(expected)), rtol=1e-9)


def test_the_log_pool_with_equal_weights_is_the_mean_logit() -> None:
    votes = soft_votes(weights=np.full(4, 2.5))
    pooled, mean = load_rule("weighted")(votes, pool="log"), load_rule("mean_logit")(votes)
    np.testing.assert_allclose(pooled.p, mean.p)


def test_majority_shares_ties_and_skips_abstentions() -> None:
    votes = votes_of(
        [[0, 1, -1], [1, 1, 0], [2, -1, 2], [0, 1, 2], [-1, -1, -1]], classes=3, prior=np.array([0.5, 0.25, 0.25])
    )
    won = load_rule("majority")(votes)
    third = 1 / 3
    np.testing.assert_allclose(won.p, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1], [third] * 3, [0.5, 0.25, 0.25]])
    assert won.covered.tolist() == [True, True, True, True, False]
    assert won.diagnostics["tied"] == 0.5
    np.testing.assert_allclose(load_rule("majority")(votes, output="shares").p[1], [third, 2 * third, 0])


def test_dawid_skene_is_the_em_of_its_formulas() -> None:
    rng = np.random.default_rng(1)
    table = rng.integers(-1, 3, (40, 4))
    table[0] = -1
    smoothing, steps = 0.5, 7
    found = load_rule("dawid_skene")(votes_of(table, 3), smoothing=smoothing, tolerance=0.0, iterations=steps)
    q = {
        i: normalised(np.array([(row == c).sum() for c in range(3)], float))
        for i, row in enumerate(table)
        if (row >= 0).any()
    }
    theta = np.zeros((4, 3, 3))
    for _ in range(steps):
        balance = np.mean(list(q.values()), axis=0)
        for j in range(4):
            for c in range(3):
                votes = [(q[i][c], table[i, j]) for i in q if table[i, j] >= 0]
                for vote in range(3):
                    cast = sum(share for share, said in votes if said == vote)
                    theta[j, c, vote] = (smoothing + cast) / (3 * smoothing + sum(share for share, _ in votes))
        q = {
            i: normalised(
                np.array(
                    [balance[c] * np.prod([theta[j, c, v] for j, v in enumerate(table[i]) if v >= 0]) for c in range(3)]
                )
            )
            for i in q
        }
    np.testing.assert_allclose(found.diagnostics["confusion"], theta, rtol=1e-9)
    np.testing.assert_allclose(found.p[list(q)], list(q.values()), rtol=1e-9)
    assert found.diagnostics["iterations"] == steps
    assert not found.covered[0]


def test_the_likelihood_of_dawid_skene_rises_and_a_given_prior_stays() -> None:
    _, votes = voters(UNEVEN, 0.3)
    rule = load_rule("dawid_skene")
    climbed = [rule(votes, iterations=n, tolerance=0.0).diagnostics["log_likelihood"] for n in (1, 2, 5, 20)]
    assert climbed == sorted(climbed)
    assert rule(votes).diagnostics["class_balance"] == pytest.approx([0.7, 0.3])


def test_metal_ends_where_its_loss_is_least_and_predicts_by_bayes() -> None:
    _, votes = voters([0.9, 0.8, 0.7], 0.4, [0.8, 0.9, 1.0])
    found = load_rule("metal")(votes)
    mu, prior = np.array(found.diagnostics["vote_given_class"]), np.array([0.6, 0.4])
    said = np.where(votes.voted, votes.p.argmax(2), -1)

    def loss(mu: np.ndarray) -> float:
        total = 0.0
        for i in range(3):
            for a in range(2):
                total += (mu[i, a] @ prior - np.mean(said[i] == a)) ** 2
                for j in range(3):
                    for b in range(2):
                        if i != j:
                            together = np.mean((said[i] == a) & (said[j] == b))
                            total += (together - sum(mu[i, a, c] * prior[c] * mu[j, b, c] for c in range(2))) ** 2
        return total

    least = loss(mu)
    assert found.diagnostics["loss"] == pytest.approx(least, abs=1e-15)
    rng = np.random.default_rng(0)
    assert all(loss(mu + 1e-3 * rng.standard_normal(mu.shape)) > least for _ in range(50))
    for row in range(20):
        likelihood = prior * np.prod([mu[j, said[j, row]] for j in range(3) if said[j, row] >= 0], axis=0)
        if found.covered[row]:
            np.testing.assert_allclose(found.p[row], normalised(likelihood), rtol=1e-9)


@pytest.mark.parametrize("aggregate", ["mean", "median"])
def test_flyingsquid_is_its_triplets(aggregate: str) -> None:
    _, votes = voters([0.9, 0.8, 0.7, 0.75, 0.65], 0.4, [0.8, 0.9, 1.0, 0.7, 0.6])
    found = load_rule("flyingsquid")(votes, aggregate=aggregate)
    sign = np.where(votes.voted, 2.0 * votes.p.argmax(2) - 1, 0.0)

    def moment(i: int, j: int) -> float:
        both = (sign[i] != 0) & (sign[j] != 0)
        return float(np.mean(sign[i][both] * sign[j][both]))

    right = np.zeros((5, 2))
    for i in range(5):
        others = [j for j in range(5) if j != i]
        values = [
            np.sqrt(abs(moment(i, j) * moment(i, k) / moment(j, k)))
            for at, j in enumerate(others)
            for k in others[at + 1 :]
        ]
        strength = np.mean(values) if aggregate == "mean" else np.median(values)
        assert found.diagnostics["estimated_accuracy"][i] == pytest.approx((1 + strength) / 2)
        mean, tilt = np.mean(sign[i][sign[i] != 0]), 0.4 - 0.6
        right[i] = (1 - mean - tilt + strength) / 4 / 0.6, (1 + mean + tilt + strength) / 4 / 0.4
    np.testing.assert_allclose(found.diagnostics["right_given_class"], right)
    for row in range(20):
        score = np.array([0.6, 0.4])
        for j in range(5):
            if sign[j, row]:
                score *= [right[j, 0], 1 - right[j, 1]] if sign[j, row] < 0 else [1 - right[j, 0], right[j, 1]]
        if found.covered[row]:
            np.testing.assert_allclose(found.p[row], normalised(score), rtol=1e-9)
