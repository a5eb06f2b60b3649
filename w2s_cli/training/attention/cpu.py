"""Attention over packed rows on a CPU: two matmuls and a softmax for each row.

* For short rows in bf16 this takes half the time of the fused kernel. Above `LONG` tokens the scores [tokens, tokens] leave the cache,
  and each row goes through the fused kernel.
* A CPU's bf16 matmul kernels are compiled for each shape, which took an eighth of a training's time. So a row is extended, by tokens
  that follow it, to a multiple of `STEP` tokens. Causality hides the added keys; the results of the added queries are dropped.
* Short rows of equal extended length are computed together. Longer rows are computed alone, `BLOCK` queries at a time with the keys up
  to the block's end: the scores of a block stay in the cache, and nearly half of a long row's scores are not computed.
"""

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from w2s_cli.training.batching import Layout

STEP = 16  # tokens: rows are extended to a multiple of it, the last row beyond the end of all tokens
# A round number of tokens makes fewer shapes. Above 2,048 tokens, activations leave the cache and nothing is gained.
LAYOUT = Layout(packed=True, most=2048, unit=2 * STEP, spare=STEP - 1)
LONG = 1024  # tokens of a row
_SHORT = 64
BLOCK = 256  # queries of a long row in one matmul


class Run(NamedTuple):
    """Adjacent rows of the same extended length, computed together."""

    rows: int
    queries: int  # of each row, extended
    keys: int
    query_at: Tensor | slice  # [rows·queries] their places; a slice for one row, to avoid a copy
    key_at: Tensor | slice  # [rows·keys]
    real_queries: Tensor | slice  # [real] which of query_at belong to the rows themselves …
    real_keys: Tensor | slice
    own_queries: Tensor | slice  # [real] … and their places
    own_keys: Tensor | slice
    mask: Tensor  # [1 or rows, queries, keys] −inf on hidden keys
    more: bool = False  # whether an earlier run has these keys too


def runs(lengths: Sequence[int], dtype: torch.dtype, *, last: bool) -> list[Run]:
    """The runs of rows of `lengths`; the queries are all tokens, or (`last`) each row's last token. `dtype` is the type of matmuls."""
    starts = [0, *accumulate(lengths)]

    def size(row: int) -> tuple[int, int]:
        width = -(-lengths[row] // STEP) * STEP
        return width, 0 if width <= _SHORT else row  # each longer row by itself

    groups = []
    fused = max(lengths) > LONG
    for (keys, _), same in groupby(range(len(lengths)), key=size):
        rows = list(same)
        own = torch.tensor([lengths[row] for row in rows])  # [rows]
        if len(rows) == 1 and not last:
            groups += _blocks(starts[rows[0]], lengths[rows[0]], keys, keys if fused else BLOCK, dtype)
            continue
        at: Tensor | slice
        which: Tensor | slice
        own_at: Tensor | slice
        steps = torch.arange(keys)
        real = steps < own[:, None]  # [rows, keys]
        if len(rows) == 1:
            start, length = starts[rows[0]], lengths[rows[0]]
            at, which, own_at = slice(start, start + keys), slice(0, length), slice(start, start + length)
        else:
            at = (torch.tensor([starts[row] for row in rows])[:, None] + steps).flatten()
            which = real.flatten().nonzero().squeeze(1)
            own_at = at[which]
        if last:
            mask = torch.zeros(real.shape, dtype=dtype).masked_fill(~real, float("-inf")).unsqueeze(1)
            here, every = slice(rows[0], rows[-1] + 1), slice(None)
            groups.append(Run(len(rows), 1, keys, here, at, every, which, here, own_at, mask))
        else:
            groups.append(Run(len(rows), keys, keys, at, at, which, which, own_at, own_at, _causal(keys, 0, dtype)))
    return groups


def _blocks(start: int, length: int, keys: int, block: int, dtype: torch.dtype) -> list[Run]:
    """One row from token `start`, extended to `keys` tokens: `block` queries at a time, with the keys up to the block's end.

    The last block, which has all keys, comes first: the gradients of the other blocks' keys are added to its gradients.
    """
    blocks = []
    for first in reversed(range(0, keys, block)):
        end = min(first + block, keys)
        seen = min(end, length)  # ≥ first + 1, for `keys` is less than a STEP above `length`
        queries, every = slice(start + first, start + end), slice(start, start + end)
        blocks.append(
            Run(
                1, end - first, end, queries, every, slice(0, seen - first), slice(0, seen),
                slice(start + first, start + seen), slice(start, start + seen), _causal(end, first, dtype), end < keys,
            )
        )  # fmt: skip
    return blocks


def _causal(keys: int, first: int, dtype: torch.dtype) -> Tensor:
    """[1, keys − first, keys]: −inf where a key is after the query; the first query is token `first`."""
    return torch.full((keys - first, keys), float("-inf"), dtype=dtype).triu(first + 1).unsqueeze(0)


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float, layout: list[Run]) -> Tensor:
    """Causal attention within each row: query, key and value are [1, heads, tokens, dim], the result [1, tokens, heads, dim].

    Keys and values may have fewer heads; each of their heads then serves several heads of queries. Under autocast, matmuls are in its type.
    """
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    if max(run.keys for run in layout) <= LONG:
        return _Rows.apply(query[0], key[0], value[0], scale, layout).unsqueeze(0)  # type: ignore[no-any-return, no-untyped-call]
    out = query.new_zeros(query.transpose(1, 2).shape)  # [1, tokens, heads, dim]
    for run in layout:
        q, k, v = (
            _take(tensor[0], at, run).view(query.shape[1], run.rows, -1, query.shape[3]).transpose(0, 1)
            for tensor, at in ((query, run.query_at), (key, run.key_at), (value, run.key_at))
        )
        causal = run.queries > 1
        mask = None if causal else run.mask.unsqueeze(1)
        states = scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale)
        out[:, run.own_queries] = states.transpose(1, 2).flatten(0, 1)[run.real_queries]
    return out


class _Rows(torch.autograd.Function):
    """softmax(q kᵀ · scale) v within each row; [heads, tokens, dim] three times → [tokens, heads, dim]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, layout: list[Run]) -> Tensor:
        out = _room(query, (query.shape[1], len(query), query.shape[2]), [run.own_queries for run in layout])
        kept: list[Tensor] = []
        for run in layout:
            q, k, v = _take(query, run.query_at, run), _take(key, run.key_at, run), _take(value, run.key_at, run)
            mask = run.mask if len(run.mask) == 1 else run.mask.repeat(len(query), 1, 1)
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale)  # [heads·rows, queries, keys]
            share = scores.softmax(-1)
            _put(out, run.own_queries, run.real_queries, torch.bmm(share, v))
            kept += [q, k, v, share]
        ctx.save_for_backward(*kept)
        ctx.scale, ctx.layout, ctx.keys = scale, layout, key.shape[1]
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        heads, dim = slope.shape[1:]
        slope_q = _room(slope, slope.shape, [run.own_queries for run in ctx.layout])
        first = [run.own_keys for run in ctx.layout if not run.more]
        slope_k, slope_v = (_room(slope, (ctx.keys, heads, dim), first) for _ in "kv")
        kept = ctx.saved_tensors
        for run, q, k, v, share in zip(ctx.layout, kept[0::4], kept[1::4], kept[2::4], kept[3::4], strict=True):
            g = q.new_zeros(q.shape)  # added queries have no part in the result
            g.view(heads, -1, dim)[:, run.real_queries] = slope.transpose(0, 1)[:, run.own_queries]
            _put(slope_v, run.own_keys, run.real_keys, torch.bmm(share.transpose(1, 2), g), add=run.more)
            scores = torch.ops.aten._softmax_backward_data(torch.bmm(g, v.transpose(1, 2)), share, -1, share.dtype)
            _put(slope_q, run.own_queries, run.real_queries, torch.bmm(scores, k).mul_(ctx.scale))
            _put(
                slope_k, run.own_keys, run.real_keys, torch.bmm(scores.transpose(1, 2), q).mul_(ctx.scale), add=run.more
            )
        return slope_q.transpose(0, 1), slope_k.transpose(0, 1), slope_v.transpose(0, 1), None, None


def _room(like: Tensor, shape: tuple[int, ...], places: list[Tensor | slice]) -> Tensor:
    """Empty [tokens, heads, dim], the order of linear layers; zeros after the `places`, the only part that is written later."""
    empty = like.new_empty(shape)
    empty[sum(at.stop - at.start if isinstance(at, slice) else len(at) for at in places) :] = 0
    return empty


def _take(tensor: Tensor, at: Tensor | slice, run: Run) -> Tensor:
    """[heads, all tokens, dim] → [heads·rows, tokens, dim] of the run's rows, contiguous for matmuls."""
    return tensor[:, at].reshape(len(tensor) * run.rows, -1, tensor.shape[-1]).contiguous()


def _put(out: Tensor, own: Tensor | slice, real: Tensor | slice, values: Tensor, *, add: bool = False) -> None:
    """Write (or `add`) the `real` tokens of `values` [heads·rows, tokens, dim] to their places `own` in `out` [all tokens, heads, dim]."""
    heads, dim = out.shape[1:]
    part = values.view(heads, -1, dim).transpose(0, 1)[real]
    if add:  # the keys of several blocks of queries
        out[own] += part
    else:
        out[own] = part
