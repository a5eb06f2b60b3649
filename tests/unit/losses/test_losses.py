"""Losses against independent float64 NumPy, and their independence of the micro-batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.training.objectives import classification

ROOT = Path(__file__).parents[3]


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return found


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    return float(-(target * log_softmax(logits)).sum(1).mean())


def xent(logits: np.ndarray, labels: np.ndarray, progress: float) -> float:
    return cross_entropy(logits, labels)


def product(
    logits: np.ndarray, labels: np.ndarray, progress: float, alpha: float = 1.0, beta: float = 1.0
) -> tuple[float, np.ndarray]:
    target = np.exp(log_softmax(logits)) ** beta * labels**alpha
    target /= target.sum(1, keepdims=True)
    return cross_entropy(logits, target), target


def paper(
    logits: np.ndarray, labels: np.ndarray, progress: float, alpha: float, warmup: float
) -> tuple[float, np.ndarray]:
    """Burns et al. 2023: half of an even batch above the threshold, linear ramp."""
    weight = alpha * min(1.0, progress / warmup)
    p1 = np.exp(log_softmax(logits))[:, 1]
    hard = (p1 > np.median(p1)).astype(float)
    target = (1 - weight) * labels + weight * np.stack([1 - hard, hard], 1)
    return cross_entropy(logits, target), target


def reference(
    logits: np.ndarray, labels: np.ndarray, progress: float, alpha: float, warmup: float
) -> tuple[float, np.ndarray]:
    """The reference code: threshold at a quantile of p(class 0), coefficient that jumps."""
    weight = alpha * (1.0 if progress > warmup else progress)
    p0 = np.exp(log_softmax(logits))[:, 0]
    threshold = np.quantile(p0, labels[:, 1].mean())
    hard = (p0 < threshold).astype(float)
    target = (1 - weight) * labels + weight * np.stack([1 - hard, hard], 1)
    return cross_entropy(logits, target), target


def drawn(rows: int, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 2
    labels = random.dirichlet(np.ones(classes), rows)
    return logits, labels


def ours(name: str, logits: np.ndarray, labels: np.ndarray, progress: float, **args: Any) -> tuple[float, np.ndarray]:
    """(loss, gradient with respect to the logits), computed in float64."""
    x = torch.tensor(logits, requires_grad=True)
    loss = load_loss(name).function(x, torch.tensor(labels), progress=progress, **args)
    loss.backward()
    assert x.grad is not None
    return float(loss.detach()), x.grad.numpy()


def gradient(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of a cross-entropy against a constant target, so it also shows that no gradient goes through the target."""
    result: np.ndarray = (np.exp(log_softmax(logits)) * target.sum(1, keepdims=True) - target) / len(logits)
    return result


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("hard", [False, True])
def test_xent_is_cross_entropy(classes: int, hard: bool) -> None:
    logits, labels = drawn(32, classes)
    labels = np.eye(classes)[labels.argmax(1)] if hard else labels
    loss, slope = ours("xent", logits, labels, 0.5)
    assert loss == pytest.approx(xent(logits, labels, 0.5), abs=1e-12)
    np.testing.assert_allclose(slope, gradient(logits, labels), atol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_product_is_the_renormalised_product(alpha: float, beta: float) -> None:
    logits, labels = drawn(32, 3)
    labels[0] = [0, 1, 0]
    loss, slope = ours("product", logits, labels, 0.5, alpha=alpha, beta=beta)
    expected, target = product(logits, labels, 0.5, alpha, beta)
    assert loss == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(slope, gradient(logits, target), atol=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.05, 0.1, 0.2, 0.3, 0.99])
def test_logconf_is_the_papers_form(progress: float) -> None:
    logits, labels = drawn(32)
    loss, slope = ours("logconf", logits, labels, progress, **arguments("logconf"))
    expected, target = paper(logits, labels, progress, alpha=0.75, warmup=0.2)
    assert loss == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(slope, gradient(logits, target), atol=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 32])
@pytest.mark.parametrize("progress", [0.0, 0.05, 0.1, 0.11, 0.99])
def test_logconf_is_the_reference_codes_form(rows: int, progress: float) -> None:
    logits, labels = drawn(rows)
    loss, slope = ours("logconf", logits, labels, progress, **arguments("logconf_reference"))
    expected, target = reference(logits, labels, progress, alpha=0.5, warmup=0.1)
    assert loss == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(slope, gradient(logits, target), atol=1e-12)


@pytest.mark.parametrize("share", ["half", "labels"])
def test_logconf_respects_the_share_with_ties(share: str) -> None:
    logits = np.zeros((32, 2))  # a zero head: all rows are equal
    labels = np.tile([0.5, 0.5], (32, 1))
    _, slope = ours("logconf", logits, labels, 0.9, alpha=1.0, warmup=0.1, share=share)
    hard = 0.5 - slope[:, 1] * 32  # gradient = (p - target) / rows
    assert hard.sum() == pytest.approx(16)
    assert np.allclose(hard, hard[0])  # no row is preferred for its place


def test_logconf_does_not_depend_on_the_order_of_rows() -> None:
    logits, labels = drawn(32)
    logits[3:9] = logits[3]
    order = np.random.default_rng(1).permutation(32)
    one, other = (ours("logconf", logits[o], labels[o], 0.9)[0] for o in (np.arange(32), order))
    assert one == pytest.approx(other, abs=1e-12)


def test_logconf_refuses_what_it_cannot_do() -> None:
    with pytest.raises(UserError, match="loss=xent"):
        ours("logconf", *drawn(8, 3), 0.5)
    with pytest.raises(UserError, match="ramp"):
        ours("logconf", *drawn(8), 0.5, ramp="step")
    with pytest.raises(UserError, match="share"):
        ours("logconf", *drawn(8), 0.5, share="third")


def arguments(config: str) -> dict[str, Any]:
    """The args of configs/loss/<config>.yaml."""
    args: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "loss" / f"{config}.yaml").read_text())["args"]
    return args


CONFIGS = sorted(path.stem for path in (ROOT / "configs" / "loss").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS)
def test_loss_and_gradient_do_not_depend_on_the_micro_batch(config: str) -> None:
    name = yaml.safe_load((ROOT / "configs" / "loss" / f"{config}.yaml").read_text())["name"]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    features = torch.randn(32, 6, dtype=torch.float64)
    targets = torch.tensor(drawn(32)[1])
    loss = load_loss(name)
    args = loss.prepared(targets, arguments(config))
    found = {}
    for size in (1, 4, 32):
        objective = classification.objective(
            lambda rows: model(features[rows]), np.ones(32, dtype=int), targets, loss, args
        )
        model.zero_grad()
        pieces = objective.cut(range(32), size)
        assert len(pieces) == 32 // size
        total = 0.0
        for part in objective.parts(pieces, 0.3):
            part.backward.backward()  # type: ignore[no-untyped-call]
            total += float(part.sums["loss"])
        found[size] = (total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for size in (1, 4):
        assert found[size][0] == pytest.approx(found[32][0], abs=1e-12)
        torch.testing.assert_close(found[size][1], found[32][1], atol=1e-12, rtol=0)


def write_loss(folder: Path, text: str) -> Path:
    (folder / "losses").mkdir(parents=True)
    (folder / "losses" / "mine.py").write_text(text)
    return folder


def test_a_users_loss_is_found_and_sees_the_whole_batch_unless_it_says_otherwise(tmp_path: Path) -> None:
    text = "def mine(logits, labels, *, progress, scale=2.0):\n    return (logits - logits.mean(0)).pow(2).mean() * scale\n"
    loss = load_loss("mine", [write_loss(tmp_path, text)])
    assert not loss.per_example
    assert float(loss.function(torch.ones(4, 2), torch.ones(4, 2), progress=0.0)) == 0


def test_a_loss_that_prepares_is_given_all_labels_once_and_its_args_are_used(tmp_path: Path) -> None:
    text = (
        "def mine(logits, labels, *, progress, top=0.0):\n    return logits.sum() * top\n"
        "def prepare(labels, **args):\n    return {**args, 'top': float(labels.max())}\n"
    )
    loss = load_loss("mine", [write_loss(tmp_path, text)])
    assert loss.prepared(torch.tensor([[0.2, 0.8], [0.1, 0.9]]), {"top": 0.0}) == {"top": pytest.approx(0.9)}
    assert load_loss("xent").prepared(torch.ones(2, 2), {"any": 1}) == {"any": 1}
    with pytest.raises(UserError, match=r"loss window, prepare: .*'radios'; it takes \(labels"):
        load_loss("window").prepared(torch.ones(2, 2), {"radios": 1})


def test_an_error_inside_a_loss_names_its_line_and_a_lack_of_memory_is_left_to_the_loop(tmp_path: Path) -> None:
    text = "import torch\n\n\ndef mine(logits, labels, *, progress, error='value'):\n    raise {error}\n"
    for name, error, shown in (
        ("value", "ValueError('odd')", r"loss mine failed: ValueError: odd \(.*mine.py, line 5\)"),
        ("memory", "torch.OutOfMemoryError('full')", None),
    ):
        loss = load_loss("mine", [write_loss(tmp_path / name, text.replace("{error}", error))])
        forward, lengths, targets = lambda rows: torch.zeros(len(rows), 2), np.ones(2, dtype=int), torch.eye(2)
        objective = classification.objective(forward, lengths, targets, loss, {})
        with pytest.raises(UserError if shown else torch.OutOfMemoryError, match=shown):
            list(objective.parts([[0, 1]], 0.0))
    with pytest.raises(UserError, match="loss mine: got an unexpected keyword argument 'width'; it takes"):
        list(classification.objective(forward, lengths, targets, loss, {"width": 1}).parts([[0, 1]], 0.0))


def test_every_loss_config_binds_to_its_function() -> None:
    logits, labels = drawn(8)
    for path in sorted((ROOT / "configs" / "loss").glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        loss = load_loss(config["name"])
        args = loss.prepared(torch.tensor(labels), config["args"])
        assert torch.isfinite(loss.function(torch.tensor(logits), torch.tensor(labels), progress=0.5, **args))
