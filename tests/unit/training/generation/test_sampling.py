"""Draws of the next token: their distribution, their independence, and transformers' own rules for what may be drawn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from w2s_cli.training.generation import sampling
from w2s_cli.training.generation.sampling import Sampling, choose, exponential, kept, keys_of, row_key

CPU = torch.device("cpu")
DRAWS = 20_000
LOGITS = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0])


def keys(count: int, *, seed: int = 0, sample: int = 0) -> torch.Tensor:
    return keys_of(seed, [(f"row {number}", sample) for number in range(count)], CPU)


def splitmix(state: int) -> int:
    """Steele et al. 2014 with unbounded integers, as their reference code in C."""
    most = (1 << 64) - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & most
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & most
    return state ^ (state >> 31)


def test_the_noise_is_splitmix64_of_key_step_and_token() -> None:
    most = (1 << 64) - 1
    for step in (0, 1, 2, 511, 100_000):
        found = exponential(keys(3), step, 5)
        for row, key in enumerate(keys(3).tolist()):
            for token in range(5):
                inner = splitmix((key + (step + 1) * 0x9E3779B97F4A7C15) & most)
                mixed = splitmix((inner + token * (sampling._TOKEN & most)) & most)
                assert found[row, token] == pytest.approx(-math.log(((mixed >> 11) + 0.5) / 2**53), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.3])
@pytest.mark.parametrize("cut", [{}, {"top_k": 4}, {"top_p": 0.8}, {"top_k": 6, "top_p": 0.9}])
def test_frequencies_are_the_softmax(temperature: float, cut: dict[str, Any]) -> None:
    how = Sampling(temperature=temperature, **cut)
    choice = choose(LOGITS.expand(DRAWS, -1), how, keys(DRAWS), 0, None)
    counts = np.bincount(choice.tokens.numpy(), minlength=len(LOGITS))
    p = np.exp(LOGITS.double().numpy() / temperature)
    p /= p.sum()
    if "top_k" in cut:
        p[cut["top_k"] :] = 0
        p /= p.sum()
    if "top_p" in cut:
        p[1 + int(np.searchsorted(p.cumsum(), cut["top_p"])) :] = 0
        p /= p.sum()
    assert (counts[p == 0] == 0).all()
    assert (p == 0).any() == bool(cut)
    assert stats.chisquare(counts[p > 0], DRAWS * p[p > 0]).pvalue > 1e-3
    torch.testing.assert_close(
        choice.log_p, LOGITS.log_softmax(0)[choice.tokens]
    )  # the model's own, before all settings


def test_a_high_temperature_is_nearly_even_and_a_low_one_nearly_greedy() -> None:
    even = choose(LOGITS.expand(DRAWS, -1), Sampling(temperature=1e4), keys(DRAWS), 0, None).tokens
    assert stats.chisquare(np.bincount(even.numpy(), minlength=8)).pvalue > 1e-3
    assert (choose(LOGITS.expand(DRAWS, -1), Sampling(temperature=1e-3), keys(DRAWS), 0, None).tokens == 0).all()


def test_noise_is_independent_between_rows_steps_samples_seeds_and_tokens() -> None:
    one = exponential(keys(2000), 0, 10)
    others = {
        "step": exponential(keys(2000), 1, 10),
        "later step": exponential(keys(2000), 300, 10),
        "sample": exponential(keys(2000, sample=1), 0, 10),
        "seed": exponential(keys(2000, seed=1), 0, 10),
        "row": one.roll(1, 0),
        "token": one.roll(1, 1),
    }
    for name, other in others.items():
        found = np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]
        assert abs(found) < 4 / math.sqrt(one.numel()), name
    assert stats.kstest(one.flatten().numpy(), "expon").pvalue > 1e-3
    shifted = exponential(keys(2000), 1, 11)[:, 1:]  # token t+1 of the next step is no copy of token t
    assert abs(np.corrcoef(one.flatten().numpy(), shifted.flatten().numpy())[0, 1]) < 4 / math.sqrt(one.numel())


def test_a_key_depends_on_seed_row_and_sample_and_names_do_not_run_together() -> None:
    made = [row_key(seed, name, sample) for seed in (0, 1, 11) for name in ("a", "1 a") for sample in (0, 1, 11)]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("words", [7, 1000])
def test_settings_are_transformers_own_processors(seed: int, words: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(5, words, generator=generator)
    ids = torch.randint(0, words, (5, 6), generator=generator)
    seen = torch.zeros(5, words, dtype=torch.bool).scatter_(1, ids, True)
    for temperature, top_k, top_p, penalty in (
        (0.7, None, 1.0, 1.0), (1.0, 3, 1.0, 1.0), (1.0, None, 0.6, 1.0), (0.6, 5, 0.9, 1.2), (1.7, 2000, 0.999, 1.5), (1.0, 1, 1e-6, 1.0),
    ):  # fmt: skip
        expected = logits
        if penalty != 1.0:
            expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, expected)
        expected = TemperatureLogitsWarper(temperature)(ids, expected)
        if top_k:
            expected = TopKLogitsWarper(top_k)(ids, expected)
        if top_p < 1:
            expected = TopPLogitsWarper(top_p)(ids, expected)
        how = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
        punished = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
        assert torch.equal(kept(punished / temperature, how), expected)
        drawn = choose(logits, how, keys(5), 2, seen).tokens
        p = expected.double().softmax(-1)
        assert (
            drawn.tolist() == (exponential(keys(5), 2, words) / p).argmin(-1).tolist()
        )  # Gumbel's choice, in another form


def test_the_gap_is_how_far_the_second_choice_was() -> None:
    greedy = choose(torch.tensor([[1.0, 3.0, 2.5]]), Sampling(), keys(1), 0, None)
    assert (int(greedy.tokens), float(greedy.gap)) == (1, 0.5)
    noise = exponential(keys(1), 0, 3)[0]
    drawn = choose(torch.tensor([[1.0, 3.0, 2.5]]), Sampling(temperature=2.0), keys(1), 0, None)
    ranked = sorted((torch.tensor([0.5, 1.5, 1.25]).double() - noise.log()).tolist(), reverse=True)
    assert float(drawn.gap) == pytest.approx(ranked[0] - ranked[1], rel=1e-6)


def test_only_given_settings_come_from_params() -> None:
    assert Sampling.of({"temperature": 0.0, "seed": None, "top_k": None, "samples": 3}) == Sampling()
    assert Sampling.of({"temperature": 1.0, "top_p": 0.5, "seed": 4}) == Sampling(1.0, 0.5, None, 1.0, 4)
