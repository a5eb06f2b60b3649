"""weights.parquet: by what factor each row of a pool counts in a training. Columns: id; weight: double."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import WEIGHTS
from w2s_cli.data.artifacts.tables import order_of, read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats


def write_weights(folder: Path, ids: Sequence[str], weights: Floats) -> None:
    """Write the artifact; `weights` is [rows]."""
    table = {"id": pa.array(ids, pa.string()), "weight": pa.array(weights, pa.float64())}
    pq.write_table(pa.table(table), folder / WEIGHTS)


def read_weights(folder: Path, ids: Sequence[str]) -> Floats:
    """The weights of the rows `ids`, in that order: [rows].

    Raises:
        UserError: other row ids than `ids`; a weight that is no number from 0 up; no weight above 0.
    """
    path = folder / WEIGHTS
    table = read_columns(path, ["id", "weight"])
    order = order_of(ids, table["id"].to_pylist(), path)
    weights: Floats = table["weight"].to_numpy().astype(np.float64)[order]
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise UserError(
            f"{path}: the weight of row {ids[wrong[0]]} is {weights[wrong[0]]}: it must be a number from 0 up "
            f"({len(wrong)} such rows); run the stage that makes it again"
        )
    if not weights.any():
        raise UserError(f"{path}: all weights are 0; there is nothing to learn from")
    return weights
