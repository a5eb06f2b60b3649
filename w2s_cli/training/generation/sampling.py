"""The next token of each row: the most probable one, or a draw whose randomness belongs to the row.

* A draw is the argmax of log p + Gumbel noise (Gumbel 1954; Maddison et al. 2014). The noise is a hash of (seed, row id, sample, step,
  token), so a text depends neither on the batch, nor on the order of rows, shards or a resume. argmin of E / p with exponential E is the
  same choice with one logarithm less.
* In fp32 the logits of a row differ by rounding between batches (1e-6), which moves a draw only where two tokens are as close: about once
  in a million tokens. `Choice.gap` is that distance, and the stage counts the close ones.
* The order of the settings is that of transformers: repetition penalty (Keskar et al. 2019), temperature, top-k, top-p (Holtzman et al.
  2020).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2⁶⁴/φ as a signed number: the step of splitmix64 (Steele et al. 2014)
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # its two multipliers
_TOKEN = -2643881736870682267  # an odd number of its own, so that tokens and steps do not share noise


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen."""

    temperature: float = 0.0  # 0: the most probable token
    top_p: float = 1.0  # the smallest set of tokens with this probability; 1: all
    top_k: int | None = None  # the most probable tokens; None: all
    repetition_penalty: float = 1.0  # above 1: tokens of prompt and text are less probable
    seed: int = 0

    @classmethod
    def of(cls, params: dict[str, Any]) -> "Sampling":
        """The sampling inside a stage's params."""
        fields = {name: params[name] for name in cls.__dataclass_fields__ if params.get(name) is not None}
        return cls(**fields)


class Choice(NamedTuple):
    """The chosen tokens of one step."""

    tokens: Tensor  # [rows] int64
    log_p: Tensor  # [rows] float32, the model's own log-probability of the token, before all settings
    gap: Tensor  # [rows] how far the second choice was, in nats


def row_key(seed: int, name: str, sample: int) -> int:
    """The 64 bits from which all noise of one text comes, as a signed number."""
    digest = hashlib.sha256(f"text {seed} {sample} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def choose(logits: Tensor, sampling: Sampling, keys: Tensor, step: int, seen: Tensor | None) -> Choice:
    """The next token of each row.

    Args:
        logits: [rows, vocabulary].
        sampling: the settings.
        keys: [rows] int64, from `row_key`.
        step: number of tokens that each text has already.
        seen: [rows, vocabulary] bool, the tokens of prompt and text; needed for a repetition penalty.
    """
    plain = logits.float()
    scores = plain
    if seen is not None and sampling.repetition_penalty != 1.0:
        penalty = sampling.repetition_penalty
        scores = torch.where(seen, torch.where(plain > 0, plain / penalty, plain * penalty), plain)
    if sampling.temperature > 0:
        scores = kept(scores / sampling.temperature, sampling)
        if scores.device.type == "mps":  # Apple's GPUs have no float64
            scores, keys = scores.cpu(), keys.cpu()
        noise = exponential(keys, step, scores.shape[-1])
        scores = scores.double() - noise.log()  # as of log p: a row's sum moves no choice
    best, tokens = scores.topk(2, dim=-1)
    gap = (best[:, 0] - best[:, 1]).float().to(plain.device)
    first = tokens[:, :1].to(plain.device)
    log_p = plain.gather(1, first).squeeze(1) - plain.logsumexp(-1)
    return Choice(first.squeeze(1), log_p, gap)


def kept(scores: Tensor, sampling: Sampling) -> Tensor:
    """`scores` [rows, vocabulary] with −∞ for the tokens that top-k and top-p leave out."""
    if sampling.top_k is not None and sampling.top_k < scores.shape[-1]:
        smallest = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    if sampling.top_p < 1.0:
        ranked, order = scores.sort(dim=-1, descending=True)
        p = ranked.softmax(-1)
        out = p.cumsum(-1) - p >= sampling.top_p  # the more probable ones are enough
        scores = scores.masked_fill(torch.empty_like(out).scatter_(1, order, out), -torch.inf)
    return scores


def exponential(keys: Tensor, step: int, words: int) -> Tensor:
    """Exponential noise [rows, words] float64: −log u with u uniform, from splitmix64 of (key, step, token)."""
    tokens = torch.arange(words, dtype=torch.int64, device=keys.device)
    state = _mixed(keys + _signed((step + 1) * _GOLDEN)).unsqueeze(1) + tokens * _TOKEN  # [rows, words], modulo 2⁶⁴
    uniform = (_right(_mixed(state), 11).double() + 0.5) * 2.0**-53
    return -uniform.log()


def _mixed(state: Tensor) -> Tensor:
    """splitmix64's finaliser."""
    state = (state ^ _right(state, 30)) * _FIRST
    state = (state ^ _right(state, 27)) * _SECOND
    return state ^ _right(state, 31)


def _signed(number: int) -> int:
    """The number modulo 2⁶⁴, from −2⁶³: torch takes no other scalar."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _right(state: Tensor, bits: int) -> Tensor:
    """The logical shift of signed 64-bit numbers."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def keys_of(seed: int, names: Sequence[tuple[str, int]], device: torch.device) -> Tensor:
    """`row_key` of (row id, sample) pairs, [rows] int64."""
    return torch.tensor([row_key(seed, name, sample) for name, sample in names], dtype=torch.int64, device=device)
