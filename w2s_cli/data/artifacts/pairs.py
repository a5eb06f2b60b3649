"""pairs.parquet: a better and a worse text for a row's prompt, from which a language model learns a preference.

Columns: id, chosen, rejected, chosen_source, rejected_source (names of stages): string; chosen_sample, rejected_sample: int32. So a report
can show where each text comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import PAIRS
from w2s_cli.data.artifacts.tables import read_columns
from w2s_cli.errors import UserError

SIDES = ("chosen", "rejected")


class Origin(NamedTuple):
    """Where a text comes from."""

    text: str
    source: str  # name of the stage
    sample: int


class Pair(NamedTuple):
    """Two texts for one prompt."""

    row: str
    chosen: Origin
    rejected: Origin


@dataclass(frozen=True)
class Pairs:
    """Rows, each with a better and a worse text; a row may have several."""

    path: Path
    pairs: list[Pair]

    @property
    def ids(self) -> list[str]:
        """Row id of each pair."""
        return [pair.row for pair in self.pairs]

    def texts(self, side: str) -> list[str]:
        """The texts of one of SIDES."""
        return [getattr(pair, side).text for pair in self.pairs]


def write_pairs(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write the artifact."""
    columns = {"id": pa.array([pair.row for pair in pairs], pa.string())}
    for side in SIDES:
        origins: list[Origin] = [getattr(pair, side) for pair in pairs]
        columns[side] = pa.array([origin.text for origin in origins], pa.string())
        columns[f"{side}_source"] = pa.array([origin.source for origin in origins], pa.string())
        columns[f"{side}_sample"] = pa.array([origin.sample for origin in origins], pa.int32())
    pq.write_table(pa.table(columns), folder / PAIRS)


def read_pairs(folder: Path) -> Pairs:
    """The artifact in `folder`; UserError if it has no pairs."""
    path = folder / PAIRS
    table = read_columns(path, ["id", *(f"{side}{part}" for side in SIDES for part in ("", "_source", "_sample"))])
    sides = [
        [
            Origin(*one)
            for one in zip(*(table[f"{side}{part}"].to_pylist() for part in ("", "_source", "_sample")), strict=True)
        ]
        for side in SIDES
    ]
    pairs = [Pair(*one) for one in zip(table["id"].to_pylist(), *sides, strict=True)]
    if not pairs:
        raise UserError(f"{path} has no pairs; run the stage that makes it again")
    return Pairs(path, pairs)
