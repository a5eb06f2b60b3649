"""Every objective against its paper's formula in float64 NumPy, in values and in gradients with respect to every token.

The formulas here are written as the papers write them (σ as 1/(1 + exp(−x)), odds as p/(1 − p)) and know nothing of the package; their
gradients are central differences.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from w2s_cli.objectives import Batch, LogP, Rule, Side, load_objective
from w2s_cli.plugins import code_names

ROOT = Path(__file__).parents[3]
STEP = 1e-5  # of the central differences, whose error is of its square
Values = list[np.ndarray]  # of each text log p by token


@dataclass
class Given:
    """Drawn log-probabilities of the texts of a batch; `reference`, `aligned` and `unaligned` by side as `policy`."""

    policy: dict[str, Values]
    reference: dict[str, Values]
    aligned: dict[str, Values]
    unaligned: dict[str, Values]
    kl: float = 0.7


def drawn(rows: int = 6, seed: int = 0, *, low: float = -4.0) -> Given:
    random = np.random.default_rng(seed)
    lengths = {side: random.integers(1, 9, rows) for side in ("chosen", "rejected")}

    def texts() -> dict[str, Values]:
        return {side: [random.uniform(low, -0.05, length) for length in lengths[side]] for side in lengths}

    return Given(texts(), texts(), texts(), texts())


def sigmoid(x: float) -> float:
    return 1 / (1 + float(np.exp(-x)))


def ratio(given: Given, side: str, row: int) -> float:
    """log π(y|x)/π_ref(y|x)."""
    return float(given.policy[side][row].sum() - given.reference[side][row].sum())


def mean_over_rows(row_loss: Callable[..., float]) -> Callable[..., float]:
    return lambda given, **args: float(
        np.mean([row_loss(given, row, **args) for row in range(len(given.policy["chosen"]))])
    )


def token_mean(given: Given) -> float:
    """Cross-entropy of a next token: over all tokens alike, however they are spread over texts."""
    return -float(np.concatenate(given.policy["chosen"]).mean())


def dpo(given: Given, row: int, beta: float = 0.1, smoothing: float = 0.0) -> float:
    """Rafailov et al. 2023, equation 7; conservative DPO (Mitchell 2023, equation 3): the pair is flipped with probability ε."""
    h = beta * (ratio(given, "chosen", row) - ratio(given, "rejected", row))
    return -(1 - smoothing) * np.log(sigmoid(h)) - smoothing * np.log(1 - sigmoid(h))


def dpo_norm(given: Given, row: int, beta: float = 5.0) -> float:
    """Lambert et al. 2024, equation 6: both log-ratios are divided by the length of their text."""
    per_token = {side: ratio(given, side, row) / len(given.policy[side][row]) for side in ("chosen", "rejected")}
    return -float(np.log(sigmoid(beta * (per_token["chosen"] - per_token["rejected"]))))


def ipo(given: Given, row: int, beta: float = 0.1, per_token: bool = False) -> float:
    """Azar et al. 2023, equation 17, h − τ⁻¹/2 squared; `per_token`: the log-ratios of h are divided by the lengths, as in TRL."""
    size = {side: len(given.policy[side][row]) if per_token else 1 for side in ("chosen", "rejected")}
    h = ratio(given, "chosen", row) / size["chosen"] - ratio(given, "rejected", row) / size["rejected"]
    return (h - 1 / beta / 2) ** 2


def orpo(given: Given, row: int, weight: float = 0.1) -> float:
    """Hong et al. 2024, equations 3 to 7, with the NLL of the chosen text."""
    p = {side: float(np.exp(given.policy[side][row].mean())) for side in ("chosen", "rejected")}
    odds = {side: value / (1 - value) for side, value in p.items()}
    return -np.log(p["chosen"]) - weight * np.log(sigmoid(float(np.log(odds["chosen"] / odds["rejected"]))))


def simpo(given: Given, row: int, beta: float = 2.0, margin: float = 1.0) -> float:
    """Meng et al. 2024, equation 6."""
    reward = {side: beta / len(given.policy[side][row]) * given.policy[side][row].sum() for side in given.policy}
    return -float(np.log(sigmoid(float(reward["chosen"] - reward["rejected"] - margin))))


def spin(given: Given, row: int, beta: float = 0.1, loss: str = "sigmoid") -> float:
    """Chen et al. 2024, equation 4.7, ℓ of the scaled difference of log-ratios to the opponent."""
    z = beta * ratio(given, "chosen", row) - beta * ratio(given, "rejected", row)
    return float(np.log(1 + np.exp(-z))) if loss == "sigmoid" else max(0.0, 1 - z)


def arm(given: Given, row: int, beta: float = 0.05) -> float:
    """Xu et al. 2024, equation 6."""
    return -float(
        np.log(sigmoid(beta * float(given.policy["chosen"][row].sum() - given.policy["rejected"][row].sum())))
    )


def wspo(given: Given, row: int, gamma: float = 0.1) -> float:
    """Zhu et al. 2025: the squared difference of both models' changes, token by token, on the chosen text."""
    own = gamma * (given.policy["chosen"][row] - given.reference["chosen"][row])
    weak = given.aligned["chosen"][row] - given.unaligned["chosen"][row]
    return float(((own - weak) ** 2).sum() / len(own))


def kto(given: Given, beta: float = 0.1, desirable: float = 1.0, undesirable: float = 1.0) -> float:
    """Ethayarajh et al. 2024: E[λ_y − v(x, y)] over all texts, each of a pair a verdict of its own, with z₀ = max(0, KL)."""
    z = given.kl
    losses = []
    for row in range(len(given.policy["chosen"])):
        losses.append(desirable - desirable * sigmoid(beta * (ratio(given, "chosen", row) - z)))
        losses.append(undesirable - undesirable * sigmoid(beta * (z - ratio(given, "rejected", row))))
    return float(np.mean(losses))


FORMULAS: dict[str, Callable[..., float]] = {
    "sft": token_mean,
    "text": token_mean,
    "dpo": mean_over_rows(dpo),
    "dpo_norm": mean_over_rows(dpo_norm),
    "ipo": mean_over_rows(ipo),
    "orpo": mean_over_rows(orpo),
    "simpo": mean_over_rows(simpo),
    "spin": mean_over_rows(spin),
    "arm": mean_over_rows(arm),
    "wspo": mean_over_rows(wspo),
    "kto": kto,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("sft", {}),
    ("text", {}),
    ("dpo", {}),
    ("dpo", {"beta": 0.4, "smoothing": 0.2}),
    ("dpo_norm", {}),
    ("dpo_norm", {"beta": 0.5}),
    ("ipo", {}),
    ("ipo", {"beta": 0.3, "per_token": True}),
    ("orpo", {}),
    ("orpo", {"weight": 0.7}),
    ("simpo", {}),
    ("simpo", {"beta": 0.6, "margin": 0.2}),
    ("spin", {}),
    ("spin", {"beta": 0.3, "loss": "hinge"}),
    ("arm", {}),
    ("arm", {"beta": 0.3}),
    ("wspo", {}),
    ("wspo", {"gamma": 0.8}),
    ("kto", {}),
    ("kto", {"beta": 0.3, "desirable": 1.5, "undesirable": 0.6}),
]
NAMES = [f"{name}-{'-'.join(map(str, args.values())) or 'default'}" for name, args in CASES]


def rule_of(name: str, args: Mapping[str, Any]) -> Rule:
    return load_objective({"name": name, "args": args})


def as_log_p(values: Values, dtype: torch.dtype) -> LogP:
    return LogP(torch.tensor(np.concatenate(values), dtype=dtype), torch.tensor([len(text) for text in values]))


def ours(given: Given, rule: Rule, dtype: torch.dtype = torch.float64) -> tuple[float, dict[str, np.ndarray]]:
    """(mean over rows, side → gradient with respect to its tokens) of the objective's loss; sides that it does not read are left out."""
    sides, leaves = {}, {}
    for side in ("chosen", "rejected"):
        policy = as_log_p(given.policy[side], dtype)
        leaves[side] = policy.tokens.requires_grad_()
        stored = {}
        if rule.needs["NEEDS_REFERENCE"]:
            stored["reference"] = as_log_p(given.reference[side], dtype)
        if rule.needs["NEEDS_WEAK"]:
            stored |= {name: as_log_p(getattr(given, name)[side], dtype) for name in ("aligned", "unaligned")}
        sides[side] = Side(policy, **stored)
    rejected = sides["rejected"] if rule.needs["NEEDS_PAIRS"] else None
    length = float(np.mean([len(text) for text in given.policy["chosen"]]))
    kl = torch.tensor(given.kl, dtype=dtype) if rule.needs["NEEDS_KL"] else None
    losses = rule.function(Batch(sides["chosen"], rejected, length, kl), **rule.args)
    assert losses.shape == (len(given.policy["chosen"]),)
    losses.mean().backward()
    slopes = {side: leaf.grad.numpy() for side, leaf in leaves.items() if leaf.grad is not None}
    return float(losses.detach().mean()), slopes


def slopes_of(formula: Callable[..., float], given: Given, args: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Side → central differences of the formula with respect to the tokens of the policy."""
    found: dict[str, np.ndarray] = {}
    for side, texts in given.policy.items():
        slopes = []
        for text in texts:
            for at in range(len(text)):
                kept = text[at]
                text[at] = kept + STEP
                above = formula(given, **args)
                text[at] = kept - STEP
                slopes.append((above - formula(given, **args)) / (2 * STEP))
                text[at] = kept
        found[side] = np.array(slopes)
    return found


@pytest.mark.parametrize(("name", "args"), CASES, ids=NAMES)
def test_the_loss_and_its_gradient_are_those_of_the_papers_formula(name: str, args: dict[str, Any]) -> None:
    given = drawn()
    loss, slopes = ours(given, rule_of(name, args))
    assert loss == pytest.approx(FORMULAS[name](given, **args), rel=1e-12, abs=1e-12)
    expected = slopes_of(FORMULAS[name], given, args)
    for side in expected:
        found = slopes.get(side, np.zeros_like(expected[side]))
        np.testing.assert_allclose(found, expected[side], atol=1e-8, rtol=1e-8)
    assert np.abs(slopes["chosen"]).max() > 1e-4


def test_every_objective_of_the_package_is_compared_here() -> None:
    assert {name for name, _ in CASES} == set(FORMULAS) == set(code_names("objectives"))


def test_the_hinge_of_spin_is_compared_on_both_of_its_sides() -> None:
    given = drawn()
    margins = [0.3 * (ratio(given, "chosen", row) - ratio(given, "rejected", row)) for row in range(6)]
    assert min(margins) < 1 < max(margins)


NAMED = sorted(path.stem for path in (ROOT / "configs" / "objective").glob("*.yaml") if path.stem != "own")


def test_every_objective_of_pairs_or_scores_can_be_chosen_by_name() -> None:
    assert {*NAMED, "sft", "text"} == {name for name, _ in CASES}


@pytest.mark.parametrize("name", NAMED)
def test_the_yaml_of_an_objective_has_the_defaults_of_its_code(name: str) -> None:
    written = yaml.safe_load((ROOT / "configs" / "objective" / f"{name}.yaml").read_text())
    given = drawn()
    assert written["name"] == name
    assert ours(given, rule_of(name, written.get("args", {})))[0] == ours(given, rule_of(name, {}))[0]


@pytest.mark.parametrize("chosen", [-1e-3, -1e-5, -1e-6])
def test_orpo_is_exact_in_fp32_for_a_text_that_the_model_knows_by_heart(chosen: float) -> None:
    """1 − p has no digits left where p rounds to 1."""
    given = drawn()
    given.policy["chosen"] = [np.full_like(text, chosen) for text in given.policy["chosen"]]
    rule = rule_of("orpo", {"weight": 0.7})
    loss, slopes = ours(given, rule, torch.float32)
    expected, slopes_expected = ours(given, rule)
    assert loss == pytest.approx(expected, rel=1e-5)
    for side, slope in slopes.items():
        np.testing.assert_allclose(slope, slopes_expected[side], rtol=1e-5)


def test_orpo_has_a_finite_gradient_where_p_is_1() -> None:
    given = drawn()
    given.policy["chosen"] = [np.zeros_like(text) for text in given.policy["chosen"]]
    loss, slopes = ours(given, rule_of("orpo", {}), torch.float32)
    assert np.isfinite(loss)
    assert all(np.isfinite(slope).all() for slope in slopes.values())


@pytest.mark.parametrize("name", ["dpo", "dpo_norm", "ipo", "orpo", "simpo", "spin", "arm", "kto"])
def test_far_from_the_reference_every_loss_is_finite_in_fp32(name: str) -> None:
    """exp of a margin of some thousands overflows; a sum of log-probabilities of a long text has such margins."""
    given = drawn(low=-4000.0)
    loss, slopes = ours(given, rule_of(name, {"beta": 5.0} if name != "orpo" else {}), torch.float32)
    assert np.isfinite(loss)
    assert all(np.isfinite(slope).all() for slope in slopes.values())
