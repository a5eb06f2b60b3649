"""Arrays and tables computed shard by shard, so that a killed stage continues after its last finished shard.

A shard is a file in `ctx.work`, always complete (written under another name, then renamed). The number of rows in a shard is part of
the stage's identity and batches never cross a shard, so a resumed result has the same bytes as an uninterrupted one.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault
from w2s_cli.store.files import write_bytes


def in_shards(
    rows: int, shard_rows: int, ctx: Context, kind: str, compute: Callable[[int, int], np.ndarray], tokens: np.ndarray
) -> np.ndarray:
    """`compute(start, end)` over all rows, joined: [rows, …]. `tokens` [rows] counts tokens for the live view only.

    Raises:
        Stopped: the stage was asked to stop; finished shards are kept.
    """
    parts, seen = [], 0
    for start in range(0, rows, shard_rows):
        end = min(rows, start + shard_rows)
        path = ctx.work / f"shard-{start:09d}.safetensors"
        if path.exists():
            parts.append(load(path.read_bytes())["values"])
            continue
        fault(f"{kind}.step")
        if ctx.stop_requested():
            raise Stopped
        values = compute(start, end)
        write_bytes(path, save({"values": np.ascontiguousarray(values)}))
        parts.append(values)
        seen += int(tokens[start:end].sum())
        ctx.progress(end, rows, examples=end, tokens=seen)
    return np.concatenate(parts)


def tables_in_shards(
    rows: int, shard_rows: int, ctx: Context, kind: str, compute: Callable[[int, int], pa.Table]
) -> pa.Table:
    """`compute(start, end)` over all rows, joined; `compute` reports its own progress.

    Raises:
        Stopped: the stage was asked to stop; finished shards are kept.
    """
    parts = []
    for start in range(0, rows, shard_rows):
        path = ctx.work / f"shard-{start:09d}.parquet"
        if not path.exists():
            fault(f"{kind}.step")
            if ctx.stop_requested():
                raise Stopped
            buffer = pa.BufferOutputStream()
            pq.write_table(compute(start, min(rows, start + shard_rows)), buffer)
            write_bytes(path, buffer.getvalue().to_pybytes())
        parts.append(pq.read_table(path))
    return pa.concat_tables(parts)
