"""Log-probabilities of the tokens of completions, with gradients, and without the logits of a whole batch in memory.

* Only the states before a completion's tokens reach the output layer, and of packed rows the queries of the last layer; the prompt's are
  computed for attention alone.
* Of packed rows on a CPU, texts of one prompt share it (`shared_prompts.py`).
* The output layer goes in chunks that fit the cache. Backward computes a chunk's logits again: one more matmul of the output layer
  instead of [tokens, vocabulary] numbers in memory.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.training.attention import packed
from w2s_cli.training.batching import Layout, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.memory import Budget, gather
from w2s_cli.training.objectives.next_token import bound_of, bounded, slope_of_bound, states_before
from w2s_cli.training.objectives.shared_prompts import grouped, length_of, rows_of
from w2s_cli.training.texts import Written

_CHUNK = 512  # tokens


class _TokenLogP(torch.autograd.Function):
    """log softmax(hidden @ weight.T) at `targets`, of logits with a bound where the model has one."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, bound: float | None
    ) -> Tensor:
        """hidden [tokens, width], weight [vocabulary, width], targets [tokens] → [tokens] fp32; matmuls in `dtype`."""
        features, matrix = hidden.to(dtype), weight.to(dtype)
        log_p, norms = torch.empty(len(targets), device=hidden.device), torch.empty(len(targets), device=hidden.device)
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            logits = bounded((features[part] @ matrix.T).float(), bound)  # [chunk, vocabulary]
            norms[part] = logits.logsumexp(-1)
            log_p[part] = logits.gather(1, targets[part].unsqueeze(1)).squeeze(1) - norms[part]
        ctx.save_for_backward(hidden, weight, targets, norms)
        ctx.dtype, ctx.bound = dtype, bound
        return log_p

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:  # type: ignore[override]
        hidden, weight, targets, norms = ctx.saved_tensors
        features, matrix = hidden.to(ctx.dtype), weight.to(ctx.dtype)
        hidden_gradient = torch.empty_like(features)
        weight_gradient = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            logits = bounded((features[part] @ matrix.T).float(), ctx.bound)  # [chunk, vocabulary]
            inner = None if ctx.bound is None else slope_of_bound(logits, ctx.bound)
            chances = logits.sub_(norms[part].unsqueeze(1)).exp_()
            outer = slope[part].unsqueeze(1)
            chances.mul_(-outer).scatter_add_(1, targets[part].unsqueeze(1), outer)
            chances = (chances if inner is None else chances.mul_(inner)).to(ctx.dtype)
            hidden_gradient[part] = chances @ matrix
            if weight_gradient is not None:
                weight_gradient += chances.T @ features[part]
        return hidden_gradient.to(hidden.dtype), weight_gradient, None, None, None


def token_log_p(model: Any, texts: Sequence[Written], layout: Layout, precision: str) -> Tensor:
    """log p of each completion token, text after text: [completion tokens of all texts] fp32."""
    return torch.cat([_together(model, part, precision) for part in layout.passes(texts)])


def _together(model: Any, texts: Sequence[Written], precision: str) -> Tensor:
    if shares(model, precision):
        rows = rows_of(texts, _groups(model, texts))
        with autocast(model.device, precision):
            states = packed.tail_states(model, rows.ids, rows.mask, rows.tails, rows.branches)
        hidden, targets = states[rows.places], rows.targets
    else:
        ids, mask = pad([text.ids for text in texts], 0)  # [texts, tokens]
        hidden, targets = states_before(model, ids, mask, precision, [counted(text) for text in texts])
    dtype = torch.bfloat16 if precision == "bf16" else hidden.dtype
    weight = model.get_output_embeddings().weight
    return _TokenLogP.apply(hidden, weight, targets, dtype, bound_of(model))  # type: ignore[no-any-return, no-untyped-call]


def shares(model: Any, precision: str) -> bool:
    """Whether texts of one prompt are read as one row."""
    return packed.usable(model, precision) and packed.most_branched(model) > 0


def sharing(model: Any, texts: Sequence[Written], precision: str) -> list[list[int]]:
    """The numbers of the texts that are read together because they have one prompt; each text by itself where none share it."""
    if not shares(model, precision):
        return [[number] for number in range(len(texts))]
    return _groups(model, texts)


def tokens_of(model: Any, rows: Sequence[Sequence[Written]], precision: str) -> np.ndarray:
    """Tokens that the texts of each row take of a micro-batch, [rows]; the texts of a row that have one prompt share it."""
    if not shares(model, precision):
        return np.array([sum(len(text.ids) for text in texts) for texts in rows])
    parts = [[[texts[number] for number in group] for group in _groups(model, texts)] for texts in rows]
    return np.array([sum(map(length_of, groups)) for groups in parts])


def _groups(model: Any, texts: Sequence[Written]) -> list[list[int]]:
    return grouped(texts, model.get_output_embeddings().weight.shape[1], packed.most_branched(model))


def counted(text: Written) -> int:
    """Tokens of a text that are learned or scored; the very first token of a row has no context."""
    return len(text.completion) - (not text.prompt)


@torch.inference_mode()
def all_log_p(model: Any, texts: Sequence[Written], layout: Layout, precision: str, budget: Budget) -> list[np.ndarray]:
    """`token_log_p` of each text, [tokens] float32 each, in micro-batches within the budget."""
    groups = sharing(model, texts, precision)
    lengths = tokens_of(model, [[texts[number] for number in group] for group in groups], precision)
    counts = [[counted(texts[number]) for number in group] for group in groups]
    room = max(map(sum, counts))

    def forward(piece: list[int]) -> Tensor:
        values = token_log_p(model, [texts[number] for group in piece for number in groups[group]], layout, precision)
        padded, at = values.new_full((len(piece), room), torch.nan), 0
        for place, group in enumerate(piece):
            end = at + sum(counts[group])
            padded[place, : end - at] = values[at:end]
            at = end
        return padded

    table = gather(forward, lengths, budget, layout)  # [groups, room]
    values: list[np.ndarray] = [table[0]] * len(texts)
    for row, group, of_texts in zip(table, groups, counts, strict=True):
        for number, end, count in zip(group, accumulate(of_texts), of_texts, strict=True):
            values[number] = row[end - count : end]
    return values
