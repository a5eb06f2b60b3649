"""Arrays and tables computed shard by shard, so that a killed stage continues after its last finished shard.

* A shard is a file in `ctx.work`, always complete (written under another name, then renamed). The number of rows in a shard is part of
  the stage's identity and batches never cross a shard, so a resumed result has the same bytes as an uninterrupted one.
* Several processes share each shard: each computes adjacent rows with about its share of the tokens and writes them, and rank 0 joins
  the parts. So a shard is the same file for any number of processes, which may go on with each other's. Only rank 0 returns.
"""

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

    def write(path: Path, values: np.ndarray) -> None:
        write_bytes(path, save({"values": np.ascontiguousarray(values)}))

    def read(path: Path) -> np.ndarray:
        values: np.ndarray = load(path.read_bytes())["values"]
        return values

    paths = _made(rows, shard_rows, ctx, kind, compute, tokens, "safetensors", write, read, np.concatenate, tell)
    return np.concatenate([read(path) for path in paths])


def tables_in_shards(
    rows: int, shard_rows: int, ctx: Context, kind: str, compute: Callable[[int, int], pa.Table]
) -> pa.Table:
    """`compute(start, end)` over all rows, joined; `compute` reports its own progress.

    Raises:
        Stopped: the stage was asked to stop; finished shards are kept.
        Served: this is not rank 0.
    """

    def write(path: Path, table: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_bytes(path, buffer.getvalue().to_pybytes())

    paths = _made(
        rows,
        shard_rows,
        ctx,
        kind,
        compute,
        np.ones(rows),
        "parquet",
        write,
        pq.read_table,
        _one_table,
        lambda *_: None,
    )
    return pa.concat_tables(map(pq.read_table, paths))


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
    suffix: str,
    write: Callable[[Path, T], None],
    read: Callable[[Path], T],
    join: Callable[[list[T]], T],
    tell: Callable[[int, int], None],
) -> list[Path]:
    """The files of all shards, those that are missing made now."""
    ranks = ctx.ranks
    starts = range(0, rows, shard_rows)
    paths = [ctx.work / f"shard-{start:09d}.{suffix}" for start in starts]
    present = exchange.from_first(ranks, lambda: [path.exists() for path in paths])
    for start, path, done in zip(starts, paths, present, strict=True):
        if done:
            continue
        fault(f"{kind}.step")
        end = min(rows, start + shard_rows)
        first, last = span(start, end, sizes, ranks)
        parts = [path.with_name(f"{path.stem}.part-{rank}.{suffix}") for rank in range(ranks.count)]
        stopping = ctx.stop_requested()
        if not stopping and first < last:
            try:
                write(path if ranks.count == 1 else parts[ranks.rank], compute(first, last))
            except Stopped:
                stopping = True
        if exchange.any_of(ranks, stopping)[0]:
            raise Stopped
        if ranks.count > 1 and not ranks.rank:
            spans = [span(start, end, sizes, Ranks(rank, ranks.count)) for rank in range(ranks.count)]
            write(path, join([read(part) for part, (one, other) in zip(parts, spans, strict=True) if one < other]))
            for part in parts:
                part.unlink(missing_ok=True)
        tell(start, end)
    ctx.rest_alone()
    return paths
