"""Attention over packed rows on an NVIDIA GPU: torch's variable-length flash attention, one call for all rows.

Written from torch's documentation and tested with a stand-in for the kernel, not yet on a GPU. So `packed.py` tries every model on the
device first, forward and backward, and pads rows if the trial fails or disagrees.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from w2s_cli.training.batching import Layout

LAYOUT = Layout(packed=True)  # as many tokens as the budget allows: the cost is in the launches
PRECISIONS = ("bf16",)  # of the kernel


class Spans(NamedTuple):
    """Starts of the rows, for queries and for keys, [rows + 1] int32 on the device, and the longest row of each."""

    query_at: Tensor
    key_at: Tensor
    most_queries: int
    most_keys: int
    causal: bool


def spans(lengths: Sequence[int], device: torch.device, *, last: bool) -> Spans:
    """The spans of rows of `lengths`; the queries are all tokens, or (`last`) each row's last token, which sees all keys of its row."""
    keys = [0, *accumulate(lengths)]
    queries = list(range(len(lengths) + 1)) if last else keys
    at = [torch.tensor(starts, dtype=torch.int32).to(device, non_blocking=True) for starts in (queries, keys)]
    return Spans(at[0], at[1], 1 if last else max(lengths), max(lengths), not last)


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float, where: Spans) -> Tensor:
    """Attention within each row: query, key and value are [1, heads, tokens, dim], the result [1, tokens, heads, dim] bf16.

    Keys and values may have fewer heads; each of their heads then serves several heads of queries.
    """
    from torch.nn.attention import varlen

    attend: Any = varlen.varlen_attn
    q, k, v = (part[0].transpose(0, 1).to(torch.bfloat16) for part in (query, key, value))  # [tokens, heads, dim]
    states: Tensor = attend(
        q,
        k,
        v,
        where.query_at,
        where.key_at,
        where.most_queries,
        where.most_keys,
        scale=scale,
        window_size=(-1, 0) if where.causal else (-1, -1),
        **_sharing(attend, heads_differ=q.shape[1] != k.shape[1]),
    )
    return states.unsqueeze(0)


@functools.cache
def _sharing(attend: Callable[..., Tensor], *, heads_differ: bool) -> dict[str, bool]:
    """The argument by which queries share keys; the kernel always can, and newer versions of torch ask to be told."""
    return {"enable_gqa": heads_differ} if "enable_gqa" in inspect.signature(attend).parameters else {}
