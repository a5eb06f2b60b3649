"""scores.parquet: what a model thinks of given texts: log-probabilities by token, or one score a text; in the order of the texts.

* Columns: id: string; log_p (of examples) or chosen_log_p, rejected_log_p (of pairs): lists of float32, in nats, with the end token's.
  `other_log_p`: of another row's chosen text after this pair's prompt, for KTO's estimate.
* Of completions, for rules that compare scores: sample, int32, and score, float64: a classifier's or reward model's, or the mean or sum
  of the log-probabilities of the tokens. Completions that say nothing have null for both, and stand after all others.
* A column of log-probabilities has the digest of the texts' tokens in the metadata of its field: two models' values can be compared only
  token by token. It is no part of a stage's identity, and the columns of an older w2s have none.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.data.artifacts import SCORES
from w2s_cli.data.artifacts.tables import read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats

LogP = list[NDArray[np.float32]]  # of each text its tokens'
DIGEST = "tokens"  # key of a field's metadata


def write_log_p(
    folder: Path,
    ids: Sequence[str],
    columns: Mapping[str, LogP],
    samples: Sequence[int] | None = None,
    *,
    by: Literal["mean", "sum"] = "mean",
    empty: Sequence[tuple[str, int]] = (),
    digests: Mapping[str, str] | None = None,
) -> None:
    """Write log-probabilities; columns: "", "chosen", "rejected" or "other" → of each text its tokens'.

    Args:
        samples: tell the completions of a row apart; each then has a score too.
        by: what of the log-probabilities is the score.
        empty: (row id, sample) of completions that say nothing.
        digests: column → the digest of its texts' tokens.
    """
    table = {"id": pa.array([*ids, *(row for row, _ in empty)], pa.string())}
    fields = [pa.field("id", pa.string())]
    for name, values in columns.items():
        ends = np.cumsum([0, *map(len, values)])
        flat = pa.array(np.concatenate(values).astype(np.float32), pa.float32())
        lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
        table[_column(name)] = pa.concat_arrays([lists, pa.nulls(len(empty), lists.type)])
        digest = (digests or {}).get(name)
        fields.append(pa.field(_column(name), lists.type, metadata={DIGEST: digest} if digest else None))
    if samples is not None:
        scores: list[float | None] = [float(getattr(text, by)(dtype=np.float64)) for text in columns[""]]
        table["sample"] = pa.array([*samples, *(sample for _, sample in empty)], pa.int32())
        table["score"] = pa.array([*scores, *(None for _ in empty)], pa.float64())
        fields += [pa.field("sample", pa.int32()), pa.field("score", pa.float64())]
    pq.write_table(pa.table(table, pa.schema(fields)), folder / SCORES)


def read_log_p(folder: Path, ids: Sequence[str], column: str) -> LogP:
    """The log-probabilities of one column, for texts of the rows `ids` in their order.

    Raises:
        UserError: scores of other texts, without this column, or that are not finite.
    """
    path, name = folder / SCORES, _column(column)
    table = read_columns(path, ["id", name]).drop_null()  # without the texts that say nothing
    if table["id"].to_pylist() != list(ids):
        raise UserError(f"{path} scores other texts than those of this stage; score these (kind: score)")
    values = table[name].combine_chunks()
    flat = values.flatten().to_numpy(zero_copy_only=False)
    if not np.isfinite(flat).all():
        raise UserError(
            f"{path} has log-probabilities that are not finite; make it again with the model's precision=fp32"
        )
    return [np.asarray(part) for part in np.split(flat, np.cumsum(values.value_lengths().to_numpy())[:-1])]


def read_digest(folder: Path, column: str) -> str | None:
    """The digest of the tokens of a column's texts; None in a file of an older w2s."""
    digest = (pq.read_schema(folder / SCORES).field(_column(column)).metadata or {}).get(DIGEST.encode())
    return None if digest is None else str(digest.decode())


def write_scores(folder: Path, ids: Sequence[str], samples: Sequence[int], scores: Floats) -> None:
    """Write one score a text; the sample tells the texts of a row apart."""
    columns = {
        "id": pa.array(ids, pa.string()),
        "sample": pa.array(samples, pa.int32()),
        "score": pa.array(scores, pa.float64()),
    }
    pq.write_table(pa.table(columns), folder / SCORES)


def read_scores(folder: Path, names: Sequence[tuple[str, int]]) -> Floats:
    """One score for each (row id, sample), [texts]; where a language model scored, the mean or sum of its log-probabilities.

    A text that says nothing has NaN, and no rule picks it.

    Raises:
        UserError: scores of other texts, or that are not finite.
    """
    path = folder / SCORES
    table = read_columns(path, ["id", "sample", "score"])
    stored = list(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))
    places = {name: place for place, name in enumerate(stored)}
    if len(places) < len(stored) or any(name not in places for name in names):
        raise UserError(f"{path} scores other texts than those of this stage; score these (kind: score)")
    order = [places[name] for name in names]
    scores, given = (column.to_numpy()[order] for column in (table["score"], table["score"].is_valid()))
    if not np.isfinite(scores[given]).all():
        raise UserError(f"{path} has scores that are not finite; make it again with the model's precision=fp32")
    return np.asarray(scores, dtype=np.float64)


def _column(name: str) -> str:
    return f"{name}_log_p" if name else "log_p"
