"""Reading parquet columns with checks, and joining rows by id: what the readers of all artifacts share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Booleans, Floats, Integers

IDS_SHOWN = 3


def read_columns(path: Path, columns: Sequence[str], optional: Sequence[str] | None = ()) -> pa.Table:
    """The table with `columns`, and with those of `optional` that the file has (None: all others).

    Raises:
        UserError: the file is missing, is cut short, or lacks a column.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; run the stage that makes it again")
    try:
        names = pq.read_schema(path).names
        missing = [name for name in columns if name not in names]
        if missing:
            raise UserError(f'{path} has no column "{missing[0]}"; it has {", ".join(names)}')
        wanted = names if optional is None else [*columns, *(name for name in optional if name in names)]
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); run the stage that makes it again") from error


def matrix(table: pa.Table, name: str, path: Path) -> Floats:
    """A column of lists as [rows, classes] in float64; UserError if the lists have several lengths, or fewer than 2 values."""
    column = table.column(name).combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    lengths = set(column.value_lengths().to_pylist())
    if len(lengths) != 1 or None in lengths or min(lengths) < 2:
        raise UserError(f'{path}: the lists of column "{name}" are not all of one length ≥ 2; make the labels again')
    return np.asarray(values.reshape(len(column), -1), dtype=np.float64)


def booleans(table: pa.Table, name: str, path: Path) -> Booleans:
    """A column of true and false, [rows]; UserError for anything else."""
    column = table.column(name)
    if column.type != pa.bool_() or column.null_count:
        raise UserError(f'{path}: column "{name}" must be true or false in every row; make the labels again')
    return np.asarray(column.to_numpy(), dtype=np.bool_)


def lists(values: NDArray[np.floating[Any]]) -> pa.Array:
    """[rows, classes] as a column of float32 lists."""
    rows, classes = values.shape
    offsets = pa.array(np.arange(rows + 1) * classes, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel().astype(np.float32), pa.float32()))


def order_of(ids: Sequence[str], stored: Sequence[str], path: Path) -> Integers:
    """For each of `ids` its position in `stored`, the ids of the file at `path`: [rows].

    Raises:
        UserError: the two are not the same ids, once each.
    """
    refuse_repeats(stored, path)
    place = {row: position for position, row in enumerate(stored)}
    missing = [row for row in ids if row not in place]
    extra = sorted(set(stored) - set(ids))
    if missing or extra:
        listed = [
            f"{len(rows)} {what} (first: {', '.join(rows[:IDS_SHOWN])})"
            for what, rows in (("missing", missing), ("extra", extra))
            if rows
        ]
        raise UserError(
            f"{path}: its {len(stored)} row ids are not the {len(ids)} rows of this stage: {', '.join(listed)}. "
            "What is joined, or compared, must be about the same rows: make this file for these rows"
        )
    return np.array([place[row] for row in ids], dtype=np.int64)


def refuse_repeats(ids: Sequence[str], path: Path) -> None:
    """UserError if an id comes twice."""
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    repeated = [row for row in ids if row in seen or seen.add(row)]  # type: ignore[func-returns-value]
    raise UserError(
        f"{path}: {len(repeated)} row ids come twice (first: {', '.join(repeated[:IDS_SHOWN])}); make it again"
    )
