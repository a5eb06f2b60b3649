"""Arrays and tables computed shard by shard, so that a killed stage continues after its last finished shard.

* A shard is a file in `ctx.work`, always complete (written under another name, then renamed). The number of rows in a shard is part of
  the stage's identity and batches never cross a shard, so a resumed result has the same bytes as an uninterrupted one.
* The file's name has the digest of its bytes: a damaged shard is made again, so that no result is made of it.
* Several processes share each shard: each computes adjacent rows with about its share of the tokens and writes them, and rank 0 joins
  the parts. So a shard is the same file for any number of processes, which may go on with each other's. Only rank 0 returns.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault
from w2s_cli.store.files import write_bytes
from w2s_cli.store.ranks import Ranks
from w2s_cli.training import exchange
from w2s_cli.training.division import span

T = TypeVar("T", np.ndarray, pa.Table)


def in_shards(
    rows: int, shard_rows: int, ctx: Context, kind: str, compute: Callable[[int, int], np.ndarray], tokens: np.ndarray
) -> np.ndarray:
    """`compute(start, end)` over all rows, joined: [rows, …]. `tokens` [rows] divides a shard, and is counted in the live view.

    Raises:
        Stopped: the stage was asked to stop; finished shards are kept.
        Served: this is not rank 0.
    """
    seen = 0

    def tell(start: int, end: int) -> None:
        nonlocal seen
        seen += int(tokens[start:end].sum())
        ctx.progress(end, rows, examples=end, tokens=seen)

    def pack(values: np.ndarray) -> bytes:
        content: bytes = save({"values": np.ascontiguousarray(values)})
        return content

    def unpack(content: bytes) -> np.ndarray:
        values: np.ndarray = load(content)["values"]
        return values

    return np.concatenate(_made(rows, shard_rows, ctx, kind, compute, tokens, pack, unpack, np.concatenate, tell))


def tables_in_shards(
    rows: int, shard_rows: int, ctx: Context, kind: str, compute: Callable[[int, int], pa.Table]
) -> pa.Table:
    """`compute(start, end)` over all rows, joined; `compute` reports its own progress.

    Raises:
        Stopped: the stage was asked to stop; finished shards are kept.
        Served: this is not rank 0.
    """

    def pack(table: pa.Table) -> bytes:
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        content: bytes = buffer.getvalue().to_pybytes()
        return content

    def unpack(content: bytes) -> pa.Table:
        return pq.read_table(pa.BufferReader(content))

    def tell(start: int, end: int) -> None:
        """The progress is told by `compute`."""

    return pa.concat_tables(_made(rows, shard_rows, ctx, kind, compute, np.ones(rows), pack, unpack, _one_table, tell))


def _one_table(parts: list[pa.Table]) -> pa.Table:
    """The rows of all parts, as one process writes them."""
    return pa.concat_tables(parts).combine_chunks()


def _made(
    rows: int,
    shard_rows: int,
    ctx: Context,
    kind: str,
    compute: Callable[[int, int], T],
    sizes: np.ndarray,
    pack: Callable[[T], bytes],
    unpack: Callable[[bytes], T],
    join: Callable[[list[T]], T],
    tell: Callable[[int, int], None],
) -> list[T]:
    """All shards, those that are missing made now."""
    ranks, starts = ctx.ranks, range(0, rows, shard_rows)
    sound = exchange.from_first(ranks, lambda: [_stored(ctx.work, start) is not None for start in starts])
    for start, done in zip(starts, sound, strict=True):
        if done:
            continue
        fault(f"{kind}.step")
        end = min(rows, start + shard_rows)
        first, last = span(start, end, sizes, ranks)
        parts = [ctx.work / f"shard-{start:09d}.part-{rank}" for rank in range(ranks.count)]
        stopping = ctx.stop_requested()
        if not stopping and first < last:
            try:
                content = pack(compute(first, last))
                if ranks.count == 1:
                    _store(ctx.work, start, content)
                else:
                    write_bytes(parts[ranks.rank], content)
            except Stopped:
                stopping = True
        if exchange.any_of(ranks, stopping)[0]:
            raise Stopped
        if ranks.count > 1 and not ranks.rank:
            spans = [span(start, end, sizes, Ranks(rank, ranks.count)) for rank in range(ranks.count)]
            written = [part for part, (one, other) in zip(parts, spans, strict=True) if one < other]
            _store(ctx.work, start, pack(join([unpack(part.read_bytes()) for part in written])))
            for part in parts:
                part.unlink(missing_ok=True)
        tell(start, end)
    ctx.rest_alone()
    return [unpack(_stored(ctx.work, start) or b"") for start in starts]


def _store(work: Path, start: int, content: bytes) -> None:
    """Write the shard that begins with row `start`."""
    write_bytes(work / f"shard-{start:09d}-{hashlib.sha256(content).hexdigest()}", content)


def _stored(work: Path, start: int) -> bytes | None:
    """The bytes of a finished shard; None without one. A damaged one is removed."""
    for path in work.glob(f"shard-{start:09d}-*"):
        content = path.read_bytes()
        if path.name.endswith(f"-{hashlib.sha256(content).hexdigest()}"):
            return content
        path.unlink()
    return None
