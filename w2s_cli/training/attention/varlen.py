"""Attention over rows that lie end to end, on an NVIDIA GPU: torch's variable-length flash attention, one call for all rows.

Written to torch's documentation and tested with a stand-in for the kernel: nobody has run it on a GPU here. So `packed` tries every model
on the device first, forward and backward, and pads its rows where that fails or disagrees.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from w2s_cli.training.batching import Layout

LAYOUT = Layout(packed=True)  # as many tokens as the budget allows: launches are what costs
PRECISIONS = ("bf16",)  # that the kernel has


class Spans(NamedTuple):
    """Where each row begins, for queries and for keys, [rows + 1] int32 on the device, and the longest of each."""

    query_at: Tensor
    key_at: Tensor
    most_queries: int
    most_keys: int
    causal: bool


def spans(lengths: Sequence[int], device: torch.device, *, last: bool) -> Spans:
    """The spans of rows of `lengths`; the queries are all their tokens, or (`last`) one for each, its last, which sees all keys."""
    keys = [0, *accumulate(lengths)]
    queries = list(range(len(lengths) + 1)) if last else keys
    at = [torch.tensor(starts, dtype=torch.int32).to(device, non_blocking=True) for starts in (queries, keys)]
    return Spans(at[0], at[1], 1 if last else max(lengths), max(lengths), not last)


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float, where: Spans) -> Tensor:
    """Attention within each row: query, key and value are [1, heads, tokens, dim], the result [1, tokens, heads, dim] bf16.

    Fewer heads of keys and values serve several of the queries each.
    """
    from torch.nn.attention import varlen

    attend: Any = varlen.varlen_attn
    q, k, v = (part[0].transpose(0, 1).to(torch.bfloat16) for part in (query, key, value))  # [tokens, heads, dim]
    found: Tensor = attend(
        q,
        k,
        v,
        where.query_at,
        where.key_at,
        where.most_queries,
        where.most_keys,
        scale=scale,
        window_size=(-1, 0) if where.causal else (-1, -1),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return found.unsqueeze(0)
