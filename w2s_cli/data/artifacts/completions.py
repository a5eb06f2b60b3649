"""completions.parquet: texts that a model wrote, or the recipe's own solutions; examples.parquet: texts chosen among them.

* Columns of both: id, text, finish (end, stop or length): string; sample, tokens: int32; log_p: float64, of the tokens and the end token
  in nats, by the writing model itself (null for a text that no model wrote). Examples also have source (the name of the stage): string,
  and source_sample: int32. Their own samples are numbered anew within each row.
* Rows stand in the order of their pool, and the samples of a row in the order of their numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import COMPLETIONS, EXAMPLES
from w2s_cli.data.artifacts.tables import read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Booleans, Integers

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish", pa.string()),
        ("log_p", pa.float64()),
    ]
)
FINISHES = ("end", "stop", "length")


@dataclass(frozen=True)
class Completions:
    """The texts of one pool; every column has one entry a text."""

    path: Path
    ids: list[str]
    samples: Integers
    texts: list[str]
    tokens: Integers
    finishes: list[str]

    @property
    def names(self) -> list[tuple[str, int]]:
        """(row id, sample) of each text."""
        return list(zip(self.ids, self.samples.tolist(), strict=True))

    @property
    def whole(self) -> Booleans:
        """[texts] true where the text came to its own end, and was not cut."""
        return np.array([finish != "length" for finish in self.finishes], dtype=np.bool_)

    def by_row(self) -> dict[str, list[int]]:
        """Row id → the places of its texts, in the order of their samples."""
        rows: dict[str, list[int]] = {}
        for place, name in enumerate(self.ids):
            rows.setdefault(name, []).append(place)
        return rows


def completions_table(
    names: Sequence[tuple[str, int]],
    texts: Sequence[str],
    tokens: Sequence[int],
    finishes: Sequence[str],
    log_p: Sequence[float | None],
) -> pa.Table:
    """The table of some texts; `names` are (row id, sample)."""
    columns = [[name for name, _ in names], [sample for _, sample in names], texts, tokens, finishes, log_p]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def write_completions(folder: Path, table: pa.Table) -> None:
    """Write the artifact."""
    pq.write_table(table, folder / COMPLETIONS)


def write_examples(folder: Path, table: pa.Table, sources: Sequence[str], samples: Sequence[int]) -> None:
    """Write examples.parquet: a table of `completions_table`, with the source of each text and its sample there."""
    columns = {"source": pa.array(sources, pa.string()), "source_sample": pa.array(samples, pa.int32())}
    for name, column in columns.items():
        table = table.append_column(name, column)
    pq.write_table(table, folder / EXAMPLES)


def read_completions(folder: Path) -> Completions:
    """The completions or examples in `folder`.

    Raises:
        UserError: no text, a (row, sample) that comes twice, or an unknown finish.
    """
    path = folder / COMPLETIONS
    if not path.exists() and (folder / EXAMPLES).exists():
        path = folder / EXAMPLES
    table = read_columns(path, ["id", "sample", "text", "tokens", "finish"])
    ids, texts, finishes = (table[name].to_pylist() for name in ("id", "text", "finish"))
    samples, tokens = (table[name].to_numpy().astype(np.int64) for name in ("sample", "tokens"))
    completions = Completions(path, ids, samples, texts, tokens, finishes)
    if not ids:
        raise UserError(f"{path} has no texts; run the stage that makes it again")
    if len(set(completions.names)) < len(ids):
        raise UserError(f"{path}: a text of a row comes twice; run the stage that makes it again")
    if strange := set(finishes) - set(FINISHES):
        raise UserError(f"{path}: unknown finish {', '.join(map(str, strange))}; a text ends by {', '.join(FINISHES)}")
    return completions
