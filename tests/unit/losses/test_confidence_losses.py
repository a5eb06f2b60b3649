"""kl, entropy, window, adaptconf and balanced logconf: formulas and gradients in float64, and what each changes in an outcome."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.losses.test_losses import arguments, cross_entropy, drawn, gradient, log_softmax, ours
from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss


def softmax(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.exp(log_softmax(x))
    return found


def differences(name: str, logits: np.ndarray, labels: np.ndarray, progress: float, **args: Any) -> np.ndarray:
    """The gradient by central differences of the loss itself, [rows, classes]."""
    function, y, step = load_loss(name).function, torch.tensor(labels), 1e-6
    found = np.empty_like(logits)
    for place in np.ndindex(*logits.shape):
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            ends.append(float(function(torch.tensor(moved), y, progress=progress, **args)))
        found[place] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize("classes", [2, 4])
def test_kl_is_cross_entropy_less_the_labels_entropy_and_has_its_gradient(classes: int) -> None:
    logits, labels = drawn(16, classes)
    labels[0] = np.eye(classes)[0]  # 0 log 0 = 0
    loss, slope = ours("kl", logits, labels, 0.5)
    positive = np.where(labels > 0, labels, 1.0)
    assert loss == pytest.approx(cross_entropy(logits, labels) + (labels * np.log(positive)).sum(1).mean(), abs=1e-12)
    np.testing.assert_allclose(slope, ours("xent", logits, labels, 0.5)[1], atol=1e-12)
    assert ours("kl", np.log(labels[1:]), labels[1:], 0.5)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2, 0.9])
def test_entropy_keeps_the_gradient_through_the_students_prediction(progress: float) -> None:
    logits, labels = drawn(16, 3)
    weight = 0.6 * min(1.0, progress / 0.2)
    own = softmax(logits)
    h = -(own * np.log(own)).sum(1, keepdims=True)  # [rows, 1]
    loss, slope = ours("entropy", logits, labels, progress, alpha=0.6, warmup=0.2)
    assert loss == pytest.approx((1 - weight) * cross_entropy(logits, labels) + weight * h.mean(), abs=1e-12)
    expected = (1 - weight) * gradient(logits, labels) - weight * own * (np.log(own) + h) / len(logits)
    np.testing.assert_allclose(slope, expected, atol=1e-12)
    np.testing.assert_allclose(slope, differences("entropy", logits, labels, progress, alpha=0.6), atol=1e-8)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.9])
def test_detached_entropy_has_the_value_of_entropy_and_a_scaled_gradient_of_xent(progress: float) -> None:
    logits, labels = drawn(16)
    weight = 0.5 * min(1.0, progress / 0.2)
    loss, slope = ours("entropy_detached", logits, labels, progress)
    assert loss == pytest.approx(ours("entropy", logits, labels, progress)[0], abs=1e-12)
    np.testing.assert_allclose(slope, (1 - weight) * gradient(logits, labels), atol=1e-15)


@pytest.mark.slow
def test_only_the_true_entropy_makes_a_student_surer_than_its_labels() -> None:
    labels = np.array([[0.3, 0.7]])
    sure = {}
    for name in ("xent", "entropy_detached", "entropy"):
        x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        with torch.no_grad():
            x[0, 1] = 0.5
        for _ in range(2000):
            loss = load_loss(name).function(x, torch.tensor(labels), progress=0.9)
            (slope,) = torch.autograd.grad(loss, x)
            with torch.no_grad():
                x -= 0.5 * slope
        sure[name] = float(x.detach().softmax(-1)[0, 1])
    assert sure["xent"] == pytest.approx(0.7, abs=1e-3)
    assert sure["entropy_detached"] == pytest.approx(0.7, abs=1e-3)
    assert sure["entropy"] > 0.85


@pytest.mark.parametrize(("classes", "radius"), [(2, 0.15), (2, 0.4), (3, 0.1), (2, 0.51)])
def test_window_learns_from_uncertain_rows_only_and_divides_by_all(classes: int, radius: float) -> None:
    logits, labels = drawn(32, classes)
    inside = softmax(logits).max(1) < 0.5 + radius
    loss, slope = ours("window", logits, labels, 0.5, radius=radius)
    each = -(labels * log_softmax(logits)).sum(1)
    assert loss == pytest.approx(each[inside].sum() / 32, abs=1e-12)
    np.testing.assert_allclose(slope, gradient(logits, labels) * inside[:, None], atol=1e-12)
    assert (slope[~inside] == 0).all()
    assert inside.all() if radius > 0.5 else 0 < inside.sum() < 32


def test_window_leaves_a_sure_row_as_it_is_whatever_its_label_says() -> None:
    logits = np.array([[4.0, 0.0], [0.1, 0.0]])
    labels = np.array([[0.0, 1.0], [0.0, 1.0]])
    _, slope = ours("window", logits, labels, 0.5)
    assert slope[0].tolist() == [0, 0]
    assert slope[1, 1] < 0
    loss, slope = ours("window", logits[:1], labels[:1], 0.5)  # nothing left to learn
    assert loss == 0
    assert not slope.any()


def test_midweak_is_the_median_distance_of_all_weak_labels_from_one_half() -> None:
    _, labels = drawn(101)
    found = load_loss("window").prepared(torch.tensor(labels), {"radius": "midweak"})
    assert found == {"radius": pytest.approx(np.median(np.abs(labels[:, 1] - 0.5)), abs=1e-12)}
    assert load_loss("window").prepared(torch.tensor(labels), {"radius": 0.2}) == {"radius": 0.2}
    even = load_loss("window").prepared(torch.tensor(labels[:10]), {"radius": "midweak"})["radius"]
    assert even == pytest.approx(np.median(np.abs(labels[:10, 1] - 0.5)), abs=1e-12)
    with pytest.raises(UserError, match=r"radius=middle is unknown"):
        ours("window", *drawn(4), 0.5, radius="middle")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("classes", "temperature", "progress"), [(2, 1.0, 0.9), (4, 4.0, 0.9), (3, 2.0, 0.1)])
def test_adaptconf_is_the_papers_formula(sign: int, classes: int, temperature: float, progress: float) -> None:
    logits, labels = drawn(16, classes)
    args = {"T": 0.7, "weight": 1.5, "temperature": temperature, "sign": sign, "warmup": 0.2}
    own, rows = log_softmax(logits), np.arange(16)
    to_own, to_labels = -own[rows, logits.argmax(1)], -own[rows, labels.argmax(1)]
    e_own, e_labels = np.exp(sign * to_own / 0.7), np.exp(sign * to_labels / 0.7)
    share = e_own / (e_own + e_labels) * min(1.0, progress / 0.2)
    taught = softmax(np.log(labels) / temperature)
    apart = (taught * (np.log(taught) - log_softmax(logits / temperature))).sum(1) * temperature**2
    loss, slope = ours("adaptconf", logits, labels, progress, **args)
    assert loss == pytest.approx(1.5 * ((1 - share) * apart + share * to_own).mean(), abs=1e-12)
    by_labels = (softmax(logits / temperature) - taught) * temperature
    by_own = softmax(logits) - np.eye(classes)[logits.argmax(1)]
    expected = 1.5 * ((1 - share)[:, None] * by_labels + share[:, None] * by_own) / 16
    np.testing.assert_allclose(slope, expected, atol=1e-12)


def test_the_sign_of_adaptconf_says_who_wins_where_a_sure_student_disagrees() -> None:
    logits, labels = np.array([[0.0, 3.0]]), np.array([[0.9, 0.1]])
    toward = {sign: -ours("adaptconf", logits, labels, 0.5, sign=sign)[1][0, 1] for sign in (1, -1)}
    assert toward[1] < 0 < toward[-1]  # 1: back to the label; -1: further into its own opinion
    with pytest.raises(UserError, match="sign"):
        ours("adaptconf", logits, labels, 0.5, sign=0)
    with pytest.raises(UserError, match="positive"):
        ours("adaptconf", logits, labels, 0.5, T=0)


def balanced(labels: np.ndarray) -> np.ndarray:
    odds = np.log(labels[:, 1] + 1e-7) - np.log(1 - labels[:, 1] + 1e-7)
    y = 1 / (1 + np.exp(-(odds - odds.mean())))
    found: np.ndarray = np.stack([1 - y, y], 1)
    return found


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("progress", [0.0, 0.1, 0.9])
def test_balanced_logconf_takes_the_mean_log_odds_from_the_labels(progress: float, hard: bool) -> None:
    logits, labels = drawn(32)
    labels = np.eye(2)[(labels[:, 1] > 0.2).astype(int)] if hard else labels**3 / (labels**3).sum(1, keepdims=True)
    weight = 0.5 * min(1.0, progress / 0.21)
    y = balanced(labels)
    p0 = softmax(logits)[:, 0]
    high = (p0 < np.quantile(p0, 0.5)).astype(float)
    target = (1 - weight) * y + weight * np.stack([1 - high, high], 1)
    loss, slope = ours("logconf", logits, labels, progress, **arguments("logconf_balanced"))
    assert loss == pytest.approx(cross_entropy(logits, target), abs=1e-9)
    np.testing.assert_allclose(slope, gradient(logits, target), atol=1e-9)


def test_balancing_undoes_a_supervisor_that_leans_to_one_class() -> None:
    _, fair = drawn(64)
    odds = np.log(fair[:, 1] / fair[:, 0])
    odds -= odds.mean()
    y = 1 / (1 + np.exp(-(odds + 2)))  # leans by two nats
    logits, labels = np.zeros((64, 2)), np.stack([1 - y, y], 1)
    _, leaning = ours("logconf", logits, labels, 0.0)
    _, straight = ours("logconf", logits, labels, 0.0, balance=True)
    expected = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(0.5 - straight[:, 1] * 64, expected, atol=1e-6)  # gradient = (p − target) / rows
    assert (0.5 - leaning[:, 1] * 64).mean() > expected.mean() + 0.2


def test_a_batch_of_one_is_balanced_by_the_mean_of_all_labels_or_refused() -> None:
    _, labels = drawn(40)
    args = load_loss("logconf").prepared(torch.tensor(labels), {"balance": True, "warmup": 0.2})
    _, slope = ours("logconf", np.zeros((1, 2)), labels[:1], 0.0, **args)
    assert 0.5 - slope[0, 1] == pytest.approx(balanced(labels)[0, 1], abs=1e-9)
    assert abs(balanced(labels)[0, 1] - 0.5) > 0.05  # its own mean would have made it 1/2
    with pytest.raises(UserError, match="batch_size"):
        ours("logconf", np.zeros((1, 2)), labels[:1], 0.0, balance=True)
    assert load_loss("logconf").prepared(torch.tensor(labels), {"alpha": 0.5}) == {"alpha": 0.5}


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.9])
def test_logconf_eleuther_is_their_code_of_single_rows_on_the_effective_batch(progress: float) -> None:
    """EleutherAI/w2s, w2s/loss.py: `prior = labels.mean() if labels.shape[0] > 1 else 0.5`, and w2s/sft_config.py: `minibatch_size = 1`."""
    logits, labels = drawn(32)
    labels = np.sqrt(labels) / np.sqrt(labels).sum(1, keepdims=True) * [0.6, 1.4]  # a supervisor that prefers class 1
    labels /= labels.sum(1, keepdims=True)
    assert abs(labels[:, 1].mean() - 0.5) > 0.05
    weight = 0.5 * min(1.0, progress / 0.21)
    p0 = softmax(logits)[:, 0]
    high = (p0 < np.quantile(p0, 0.5)).astype(float)
    target = (1 - weight) * labels + weight * np.stack([1 - high, high], 1)
    loss, slope = ours("logconf", logits, labels, progress, **arguments("logconf_eleuther"))
    assert loss == pytest.approx(cross_entropy(logits, target), abs=1e-12)
    np.testing.assert_allclose(slope, gradient(logits, target), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "args", "overrules"),
    [
        ("xent", {}, False),
        ("kl", {}, False),
        ("entropy_detached", {"alpha": 0.75}, False),
        ("logconf", {"alpha": 0.75}, True),
        ("entropy", {"alpha": 0.75}, True),
        ("adaptconf", {"sign": -1}, True),
        ("window", {"radius": 0.3}, True),
    ],
)
def test_a_confident_student_keeps_its_view_of_one_wrong_label(
    name: str, args: dict[str, Any], overrules: bool
) -> None:
    """Every row has a parameter of its own, so labels can be fitted; one label is wrong and the student knows better."""
    truth = np.arange(16) % 2
    labels = np.stack([1 - truth, truth], 1) * 0.8 + 0.1
    labels[5] = labels[5, ::-1]
    start = (2 * truth - 1) * 2.5
    x = torch.tensor(np.stack([-start / 2, start / 2], 1), requires_grad=True)
    for _ in range(600):
        (slope,) = torch.autograd.grad(load_loss(name).function(x, torch.tensor(labels), progress=0.9, **args), x)
        with torch.no_grad():
            x -= 1.0 * slope
    said = x.detach().numpy().argmax(1)
    assert (np.delete(said, 5) == np.delete(truth, 5)).all()
    assert (said[5] == truth[5]) == overrules
