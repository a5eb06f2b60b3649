"""examples.parquet and pairs.parquet: chosen texts, from which a language model learns.

* Examples: id, text, source (name of the stage): string; sample: int32. A row may have several. A stage that gives completions gives
  examples too: all its texts.
* Pairs: id, chosen, rejected, chosen_source, rejected_source: string; chosen_sample, rejected_sample: int32.
* Both know where each text comes from, so that a report can show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import COMPLETIONS, EXAMPLES, PAIRS
from w2s_cli.data.artifacts.completions import read_completions
from w2s_cli.data.artifacts.tables import read_columns
from w2s_cli.errors import UserError


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
class Examples:
    """Prompts' rows, each with a text to learn."""

    path: Path
    ids: list[str]
    texts: list[str]


@dataclass(frozen=True)
class Pairs:
    """Prompts' rows, each with a better and a worse text."""

    path: Path
    ids: list[str]
    chosen: list[str]
    rejected: list[str]


def write_examples(folder: Path, ids: Sequence[str], origins: Sequence[Origin]) -> None:
    """Write examples.parquet."""
    columns = {
        "id": pa.array(ids, pa.string()),
        "text": pa.array([origin.text for origin in origins], pa.string()),
        "source": pa.array([origin.source for origin in origins], pa.string()),
        "sample": pa.array([origin.sample for origin in origins], pa.int32()),
    }
    pq.write_table(pa.table(columns), folder / EXAMPLES)


def write_pairs(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs.parquet."""
    columns = {"id": pa.array([pair.row for pair in pairs], pa.string())}
    for side in ("chosen", "rejected"):
        origins: list[Origin] = [getattr(pair, side) for pair in pairs]
        columns[side] = pa.array([origin.text for origin in origins], pa.string())
        columns[f"{side}_source"] = pa.array([origin.source for origin in origins], pa.string())
        columns[f"{side}_sample"] = pa.array([origin.sample for origin in origins], pa.int32())
    pq.write_table(pa.table(columns), folder / PAIRS)


def read_examples(folder: Path) -> Examples:
    """The examples in `folder`: chosen ones, else all completions.

    Raises:
        UserError: the stage gives neither.
    """
    path = folder / EXAMPLES
    if not path.exists() and (folder / COMPLETIONS).exists():
        completions = read_completions(folder)
        return Examples(completions.path, completions.ids, completions.texts)
    table = read_columns(path, ["id", "text"])
    examples = Examples(path, table["id"].to_pylist(), table["text"].to_pylist())
    if not examples.ids:
        raise UserError(f"{path} has no examples; run the stage that makes it again")
    return examples


def samples_of(folder: Path) -> list[int] | None:
    """The sample numbers of the completions in `folder`, in the order of `read_examples`; None of chosen texts."""
    if (folder / EXAMPLES).exists():
        return None
    samples: list[int] = read_completions(folder).samples.tolist()
    return samples


def read_pairs(folder: Path) -> Pairs:
    """The pairs in `folder`."""
    path = folder / PAIRS
    table = read_columns(path, ["id", "chosen", "rejected"])
    pairs = Pairs(path, *(table[name].to_pylist() for name in ("id", "chosen", "rejected")))
    if not pairs.ids:
        raise UserError(f"{path} has no pairs; run the stage that makes it again")
    return pairs
