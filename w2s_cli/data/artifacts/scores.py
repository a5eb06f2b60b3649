"""scores.parquet: what a model thinks of given texts: log-probabilities by token, or one score a text; in the order of the texts.

* Columns: id: string; log_p (of examples) or chosen_log_p, rejected_log_p (of pairs): lists of float32, in nats, with the end token's.
  `other_log_p`: of the chosen text of the next pair after this pair's prompt, for KTO's estimate.
* Of completions, for rules that compare scores: sample, int32, and score, float64: a classifier's or reward model's, or the mean
  log-probability of a token.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.data.artifacts import SCORES
from w2s_cli.data.artifacts.tables import read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats

LogP = list[NDArray[np.float32]]  # of each text its tokens'


def write_log_p(
    folder: Path, ids: Sequence[str], columns: Mapping[str, LogP], samples: Sequence[int] | None = None
) -> None:
    """Write log-probabilities; columns: "", "chosen", "rejected" or "other" → of each text its tokens'.

    `samples` tell the completions of a row apart; each then has its mean as a score too.
    """
    table = {"id": pa.array(ids, pa.string())}
    for name, values in columns.items():
        ends = np.cumsum([0, *map(len, values)])
        flat = pa.array(np.concatenate(values).astype(np.float32), pa.float32())
        table[_column(name)] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)
    if samples is not None:
        table["sample"] = pa.array(samples, pa.int32())
        table["score"] = pa.array([float(text.mean(dtype=np.float64)) for text in columns[""]], pa.float64())
    pq.write_table(pa.table(table), folder / SCORES)


def read_log_p(folder: Path, ids: Sequence[str], column: str) -> LogP:
    """The log-probabilities of one column, for texts of the rows `ids` in their order.

    Raises:
        UserError: scores of other texts, without this column, or that are not finite.
    """
    path, name = folder / SCORES, _column(column)
    table = read_columns(path, ["id", name])
    if table["id"].to_pylist() != list(ids):
        raise UserError(f"{path} scores other texts than those of this stage; score these (kind: score)")
    values = table[name].combine_chunks()
    flat = values.flatten().to_numpy(zero_copy_only=False)
    if not np.isfinite(flat).all():
        raise UserError(
            f"{path} has log-probabilities that are not finite; make it again with the model's precision=fp32"
        )
    return [np.asarray(part) for part in np.split(flat, np.cumsum(values.value_lengths().to_numpy())[:-1])]


def write_scores(folder: Path, ids: Sequence[str], samples: Sequence[int], scores: Floats) -> None:
    """Write one score a text; the sample tells the texts of a row apart."""
    columns = {
        "id": pa.array(ids, pa.string()),
        "sample": pa.array(samples, pa.int32()),
        "score": pa.array(scores, pa.float64()),
    }
    pq.write_table(pa.table(columns), folder / SCORES)


def read_scores(folder: Path, names: Sequence[tuple[str, int]]) -> Floats:
    """One score for each (row id, sample), [texts]; the mean log-probability of a token where a language model scored.

    Raises:
        UserError: scores of other texts, or that are not finite.
    """
    path = folder / SCORES
    table = read_columns(path, ["id", "sample", "score"])
    stored = list(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))
    places = {name: place for place, name in enumerate(stored)}
    if len(places) < len(stored) or any(name not in places for name in names):
        raise UserError(f"{path} scores other texts than those of this stage; score these (kind: score)")
    scores = table["score"].to_numpy()[[places[name] for name in names]].astype(np.float64)
    if not np.isfinite(scores).all():
        raise UserError(f"{path} has scores that are not finite; make it again with the model's precision=fp32")
    return np.asarray(scores, dtype=np.float64)


def _column(name: str) -> str:
    return f"{name}_log_p" if name else "log_p"
