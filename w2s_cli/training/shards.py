"""Arrays and tables computed shard by shard, so that a killed stage continues after its last finished shard.

A shard is a file in `ctx.work`, always complete (written under another name, then renamed). The number of rows in a shard is part of
the stage's identity and batches never cross a shard, so a resumed result has the same bytes as an uninterrupted one. The file's name has
the digest of its bytes: a damaged shard is made again, so that no result is made of it.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

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
        if (stored := _stored(ctx.work, start)) is not None:
            parts.append(load(stored)["values"])
            continue
        fault(f"{kind}.step")
        if ctx.stop_requested():
            raise Stopped
        values = compute(start, end)
        _store(ctx.work, start, save({"values": np.ascontiguousarray(values)}))
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
        stored = _stored(ctx.work, start)
        if stored is None:
            fault(f"{kind}.step")
            if ctx.stop_requested():
                raise Stopped
            buffer = pa.BufferOutputStream()
            pq.write_table(compute(start, min(rows, start + shard_rows)), buffer)
            stored = buffer.getvalue().to_pybytes()
            _store(ctx.work, start, stored)
        parts.append(pq.read_table(pa.BufferReader(stored)))
    return pa.concat_tables(parts)


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
