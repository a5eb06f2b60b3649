"""Attention of prompts and of single tokens over the keys of a batch that is being written.

The heads that share keys are one matrix, so shared keys are not copied for each head (transformers' eager attention repeats them), and
the matmuls of a step are as few as there are key heads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

NAME = "w2s_decoding"  # in transformers' attention interface
_OTHER_RULES = (
    "sliding_window",
    "softcap",
    "s_aux",
)  # arguments of attention other than a softmax over all visible keys


@contextmanager
def used(model: Any) -> Iterator[None]:
    """Within the block, `model` attends by this module."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    config = model.base_model.config
    before, config._attn_implementation = config._attn_implementation, NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def mask_of(visible: Tensor) -> Tensor:
    """[rows, 1, queries, keys] true where a query sees a key → what is added to scores, in fp32."""
    hidden = torch.finfo(torch.float32).min
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, hidden)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **named: Any
) -> tuple[Tensor, None]:
    """query [rows, heads, queries, dim]; key and value [rows, key heads, keys, dim] → [rows, queries, heads, dim]."""
    if mask is None or any(named.get(rule) is not None for rule in _OTHER_RULES):
        raise NotImplementedError("attention other than a softmax over the visible keys")
    rows, heads, queries, dim = query.shape
    shared = key.shape[1]
    scale = named.get("scaling")
    grouped = query.reshape(rows, shared, heads // shared * queries, dim) * (dim**-0.5 if scale is None else scale)
    scores = grouped @ key.transpose(-1, -2)  # [rows, key heads, group · queries, keys]
    scores = scores.view(rows, heads, queries, -1) + mask
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    states = weights.view(rows, shared, heads // shared * queries, -1) @ value
    return states.view(rows, heads, queries, dim).transpose(1, 2), None
