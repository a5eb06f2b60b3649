"""Attention over packed rows on a CPU: two matmuls and a softmax for each row.

* For short rows in bf16 this takes half the time of the fused kernel. Above `LONG` tokens the scores [tokens, tokens] leave the cache,
  and each row goes through the fused kernel.
* A CPU's matmul kernels are compiled for each shape, which took an eighth of a training's time. So a row is extended, by tokens
  that follow it, to a multiple of `STEP` tokens. Causality hides the added keys; the results of the added queries are dropped.
* Rows of equal extended length are computed together while their scores stay in the cache: each row by itself waits for the calls. A
  longer row is computed in blocks of about `BLOCK` queries, each with the keys up to the block's end: its scores stay in the cache too,
  and nearly half of a long row's scores are not computed.
* Each new shape of a matmul takes half a millisecond and half a MiB: numbers of rows are powers of two, blocks have one size but for a
  row's last, and the one query of a row in the last layer needs no matmul. The linear layers behind it see a multiple of 8 rows.
* A row can have branches: continuations of one beginning, of which each sees the beginning and itself. The mask hides the others.
* Scores become shares in place, and a pass without gradients keeps none: the next row has its memory.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from w2s_cli.training.batching import Layout
from w2s_cli.training.device import matmul_dtype

STEP = 16  # tokens: rows are extended to a multiple of it, the last row beyond the end of all tokens
# A round number of tokens makes fewer shapes. Above 2,048 tokens, activations leave the cache and nothing is gained.
LAYOUT = Layout(packed=True, most=2048, unit=2 * STEP, spare=STEP - 1, last=8)
LONG = 1024  # tokens of a row
BLOCK = 256  # queries of a long row in one matmul, about


class Block(NamedTuple):
    """Some queries of a run, with the keys up to the last of them: their scores stay in the cache."""

    first: int  # query of each row; of the run's extended rows
    end: int
    keys: int
    mask: Tensor  # [1 or rows, queries, keys] −inf on hidden keys


class Run(NamedTuple):
    """Adjacent rows of the same extended length, computed together."""

    rows: int
    query_at: Tensor | slice  # [rows·queries] their places, extended; a slice for one row, to avoid a copy
    key_at: Tensor | slice  # [rows·keys]
    real_queries: Tensor | slice  # [real] which of query_at belong to the rows themselves …
    real_keys: Tensor | slice
    own_queries: slice  # … and their places
    own_keys: slice
    blocks: list[Block]  # of all queries, the last block first: it has all keys


def runs(
    lengths: Sequence[int],
    dtype: torch.dtype,
    tails: Sequence[int] | None = None,
    branches: Sequence[Sequence[int]] | None = None,
) -> list[Run]:
    """The runs of rows of `lengths`; the queries are all tokens, or the last `tails[row]` ones of each row, end to end.

    Args:
        lengths: tokens of each row; at most LONG with branches, or with tails of more than one token.
        dtype: the type of matmuls.
        tails: None: all tokens.
        branches: of each row the branch of each token, 0 for the beginning that all branches see; None: no row has branches.
    """
    starts = [0, *accumulate(lengths)]
    tails = lengths if tails is None and branches is not None else tails
    if tails is not None and max(tails) == 1:  # few scores: all rows at once, with as many keys as the longest
        return [_tails(starts, range(len(lengths) + 1), range(len(lengths)), max(lengths), 1, dtype, branches)]
    groups: list[Run] = []
    block = LONG if max(lengths) > LONG else BLOCK  # the fused kernel has blocks of its own
    widths = [-(-length // STEP) * STEP for length in lengths]
    tail_starts = [0, *accumulate(tails or ())]
    for rows in _groups(widths):
        keys = widths[rows[0]]
        if tails is not None:
            queries = -(-max(tails[row] for row in rows) // STEP) * STEP
            groups.append(_tails(starts, tail_starts, rows, keys, queries, dtype, branches))
        elif len(rows) == 1:
            start, end = starts[rows[0]], starts[rows[0] + 1]
            at, real, own = slice(start, start + keys), slice(0, end - start), slice(start, end)
            groups.append(Run(1, at, at, real, real, own, own, _blocks(keys, block, dtype)))
        else:
            places, present, own = _extended(starts, rows, keys)
            groups.append(Run(len(rows), places, places, present, present, own, own, _blocks(keys, keys, dtype)))
    return groups


def _groups(widths: list[int]) -> Iterator[Sequence[int]]:
    """Adjacent rows of equal width, as many as have no more scores than a block; a power of two, which makes fewer shapes."""
    start = 0
    for width, same in groupby(widths):
        end = start + len(list(same))
        most = max(1, BLOCK**2 // width**2)
        while start < end:
            rows = 1 << (min(most, end - start).bit_length() - 1)
            yield range(start, start + rows)
            start += rows


def _extended(starts: Sequence[int], rows: Sequence[int], tokens: int) -> tuple[Tensor, Tensor, slice]:
    """Of adjacent rows, each with `tokens` tokens from its start: their places, which of these are the rows' own, and where these are."""
    first = torch.tensor([starts[row] for row in rows])
    lengths = torch.tensor([starts[row + 1] for row in rows]) - first
    steps = torch.arange(tokens)
    real = (steps < lengths[:, None]).flatten().nonzero().squeeze(1)
    return (first[:, None] + steps).flatten(), real, slice(starts[rows[0]], starts[rows[-1] + 1])


def _tails(
    starts: Sequence[int],
    tail_starts: Sequence[int],
    rows: Sequence[int],
    keys: int,
    queries: int,
    dtype: torch.dtype,
    branches: Sequence[Sequence[int]] | None,
) -> Run:
    """Adjacent rows in one run, whose queries are the last tokens of each: at most `queries`, from `tail_starts` of the queries alone."""
    at, real, own_queries = _extended(tail_starts, rows, queries)
    key_at, real_keys, own_keys = _extended(starts, rows, keys)
    ends = torch.tensor([starts[row + 1] - starts[row] for row in rows])
    tails = torch.tensor([tail_starts[row + 1] - tail_starts[row] for row in rows])
    place = (ends - tails)[:, None] + torch.arange(queries)  # [rows, queries] of each query in its row
    place = place.clamp(max=keys - 1)
    hidden = torch.arange(keys) > place[:, :, None]  # [rows, queries, keys]
    if branches is not None:
        branch = torch.zeros(len(rows), keys, dtype=torch.int64)
        for at_row, row in enumerate(rows):
            branch[at_row, : len(branches[row])] = torch.tensor(branches[row])
        of_keys, of_queries = branch[:, None, :], branch.gather(1, place)[:, :, None]
        hidden |= (of_keys != 0) & (of_keys != of_queries)
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, float("-inf"))
    query_at, real_queries = (own_queries, slice(None)) if queries == 1 else (at.clamp(max=own_queries.stop - 1), real)
    key_at = key_at.clamp(max=own_keys.stop - 1)
    cuts = [*range(BLOCK, queries, BLOCK), queries]
    seen = [*(int(place[:, cut - 1].max()) + 1 for cut in cuts[:-1]), keys]  # keys of each block
    blocks = [
        Block(first, end, some, mask[:, first:end, :some])
        for first, end, some in zip([0, *cuts[:-1]], cuts, seen, strict=True)
    ]
    return Run(len(rows), query_at, key_at, real_queries, real_keys, own_queries, own_keys, blocks[::-1])


def _blocks(keys: int, most: int, dtype: torch.dtype) -> list[Block]:
    """The queries of a row of `keys` tokens, `most` at a time; the last block, which comes first, has some less or more."""
    starts = range(0, max(1, keys - most // 3), most)
    return [
        Block(first, end, end, torch.full((end - first, end), float("-inf"), dtype=dtype).triu(first + 1).unsqueeze(0))
        for first, end in zip(starts, [*starts[1:], keys], strict=True)
    ][::-1]


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float, layout: list[Run]) -> Tensor:
    """Causal attention within each row: query, key and value are [1, heads, tokens, dim], the result [1, tokens, heads, dim].

    Keys and values may have fewer heads; each of their heads then serves several heads of queries. Under autocast, matmuls are in its type.
    """
    dtype = matmul_dtype(query.device.type, query.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    if max(run.blocks[0].keys for run in layout) <= LONG:
        return _Rows.apply(query[0], key[0], value[0], scale, layout).unsqueeze(0)  # type: ignore[no-any-return, no-untyped-call]
    out = query.new_zeros(query.transpose(1, 2).shape)  # [1, tokens, heads, dim]
    for run in layout:
        q, k, v = (
            _take(tensor[0], at, run).view(query.shape[1], run.rows, -1, query.shape[3]).transpose(0, 1)
            for tensor, at in ((query, run.query_at), (key, run.key_at), (value, run.key_at))
        )
        causal = q.shape[2] > 1
        mask = None if causal else run.blocks[0].mask.unsqueeze(1)
        states = scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale)
        out[:, run.own_queries] = states.transpose(1, 2).flatten(0, 1)[run.real_queries]
    return out


class _Rows(torch.autograd.Function):
    """softmax(q kᵀ · scale) v within each row; [heads, tokens, dim] three times → [tokens, heads, dim]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, layout: list[Run]) -> Tensor:
        out = _room(query, (query.shape[1], len(query), query.shape[2]), layout[-1].own_queries.stop)
        kept: list[Tensor] = []
        keeps = any(ctx.needs_input_grad)  # else the next row's scores take the memory of this row's
        for run in layout:
            q, k, v = _take(query, run.query_at, run), _take(key, run.key_at, run), _take(value, run.key_at, run)
            states, shares = [], []
            for first, end, keys, mask in run.blocks:
                mask = mask if len(mask) == 1 else mask.repeat(len(query), 1, 1)
                scores = _product(q[:, first:end], k[:, :keys].transpose(1, 2), scale, mask)
                shares.append(torch.softmax(scores, -1, out=scores))  # [heads·rows, queries, keys]
                states.append(_product(shares[-1], v[:, :keys]))
            _put(out, run.own_queries, run.real_queries, _in_order(states))
            if keeps:
                kept += [q, k, v, *shares]
        ctx.save_for_backward(*kept)
        ctx.scale, ctx.layout, ctx.keys = scale, layout, key.shape[1]
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        heads, dim = slope.shape[1:]
        slope_q = _room(slope, slope.shape, ctx.layout[-1].own_queries.stop)
        slope_k, slope_v = (_room(slope, (ctx.keys, heads, dim), ctx.layout[-1].own_keys.stop) for _ in "kv")
        kept = iter(ctx.saved_tensors)
        for run in ctx.layout:
            q, k, v = next(kept), next(kept), next(kept)
            g = q.new_zeros(q.shape)  # added queries have no part in the result
            g.view(heads, -1, dim)[:, run.real_queries] = slope.transpose(0, 1)[:, run.own_queries]
            to_q, to_k, to_v = [], None, None
            for first, end, keys, _ in run.blocks:
                share = next(kept)
                own_q, own_g = q[:, first:end], g[:, first:end]
                scores = _product(own_g, v[:, :keys].transpose(1, 2))
                torch.ops.aten._softmax_backward_data.out(scores, share, -1, share.dtype, grad_input=scores)
                to_q.append(_product(scores, k[:, :keys], ctx.scale))
                of_k, of_v = (
                    _product(scores.transpose(1, 2), own_q, ctx.scale),
                    _product(share.transpose(1, 2), own_g),
                )
                if to_k is None or to_v is None:  # the first block has all keys
                    to_k, to_v = of_k, of_v
                else:
                    to_k[:, :keys] += of_k
                    to_v[:, :keys] += of_v
            assert to_k is not None
            assert to_v is not None
            _put(slope_q, run.own_queries, run.real_queries, _in_order(to_q))
            _put(slope_k, run.own_keys, run.real_keys, to_k)
            _put(slope_v, run.own_keys, run.real_keys, to_v)
        return slope_q.transpose(0, 1), slope_k.transpose(0, 1), slope_v.transpose(0, 1), None, None


def _in_order(parts: list[Tensor]) -> Tensor:
    """The queries of all blocks, which come last first."""
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], 1)


def _product(a: Tensor, b: Tensor, scale: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """a b · scale + mask, of [n, i, k] and [n, k, j]; vectors without a matmul, whose kernel is compiled for each shape."""
    if 1 not in a.shape[1:]:
        some = b.new_empty(1, 1, 1) if mask is None else mask
        return torch.baddbmm(some, a, b, beta=int(mask is not None), alpha=scale)
    wide = torch.promote_types(a.dtype, torch.float32)  # as a matmul adds up
    dtype, a, b = a.dtype, a.to(wide), b.to(wide)
    product = a * b if a.shape[2] == 1 else (a.transpose(1, 2) * b).sum(1, keepdim=True)
    product.mul_(scale)
    return (product if mask is None else product.add_(mask)).to(dtype)


def _room(like: Tensor, shape: tuple[int, ...], end: int) -> Tensor:
    """Empty [tokens, heads, dim], the order of linear layers; zeros from token `end`, where nothing is written later."""
    empty = like.new_empty(shape)
    empty[end:] = 0
    return empty


def _take(tensor: Tensor, at: Tensor | slice, run: Run) -> Tensor:
    """[heads, all tokens, dim] → [heads·rows, tokens, dim] of the run's rows, contiguous for matmuls."""
    # of several rows whole tokens first: these are contiguous
    part = tensor[:, at] if isinstance(at, slice) else tensor.transpose(0, 1).index_select(0, at).transpose(0, 1)
    return part.reshape(len(part) * run.rows, -1, part.shape[-1]).contiguous()


def _put(out: Tensor, own: slice, real: Tensor | slice, values: Tensor) -> None:
    """Write the `real` tokens of `values` [heads·rows, tokens, dim] to their places `own` in `out` [all tokens, heads, dim]."""
    heads, dim = out.shape[1:]
    out[own] = values.view(heads, -1, dim).transpose(0, 1)[real]
