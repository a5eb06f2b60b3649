"""rows.parquet: the texts and true labels, or the problems, of one pool, in its fixed order.

* Columns: id, group, text, and of pairs second: string; label: int32. The names of the classes are a metric in the manifest beside it.
* Pairs are rows of two texts, with class 1 = the second is preferred.
* Problems have the columns of `form.PROBLEM` (prompt, answer, solution, level: string) that their recipe names. Without data.text and
  data.template they have no label, and their text is the prompt. The solution of a test row may be null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import ROWS
from w2s_cli.data.artifacts.tables import read_columns, refuse_repeats
from w2s_cli.data.form import PROBLEM
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Booleans, Integers
from w2s_cli.store.files import read_json

REWARD = "reward"  # the one output of a model for pairs


@dataclass(frozen=True)
class Rows:
    """One pool, in its fixed order."""

    path: Path
    ids: list[str]
    texts: list[str]  # empty if the reader was asked for labels alone
    labels: Integers  # [rows] ground truth; empty if the reader was asked for texts alone
    classes: list[str]  # names
    second: list[str] | None = None  # of pairs: the other text

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of a model for these rows: the classes, or of pairs the reward."""
        return [REWARD] if self.second is not None else self.classes

    def only(self, chosen: Booleans) -> "Rows":
        """The rows where `chosen` [rows] is true."""
        at = np.flatnonzero(chosen)
        ids, texts = [self.ids[row] for row in at], [self.texts[row] for row in at]
        second = None if self.second is None else [self.second[row] for row in at]
        return replace(self, ids=ids, texts=texts, labels=self.labels[at], second=second)


def write_rows(
    folder: Path,
    ids: Sequence[str],
    groups: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[int | None] | None,
    second: Sequence[str | None] | None = None,
    problems: Sequence[Mapping[str, str | None]] = (),
) -> None:
    """Write the artifact; `second` is the other text of pairs, and `problems` are parts of PROBLEM by name, the same for all rows."""
    table = {"id": ids, "group": groups, "text": texts}
    columns: dict[str, Any] = {name: pa.array(values, pa.string()) for name, values in table.items()}
    if labels is not None:
        columns["label"] = pa.array(labels, pa.int32())
    if second is not None:
        columns["second"] = pa.array(second, pa.string())
    for part in problems[0] if problems else ():
        columns[part] = pa.array([problem[part] for problem in problems], pa.string())
    pq.write_table(pa.table(columns), folder / ROWS)


def read_rows(folder: Path, *, texts: bool = True, labels: bool = True) -> Rows:
    """The artifact in `folder`, with its texts, its labels, or both.

    Classes without names (no manifest) are called by their numbers, 0 to the largest label; those of pairs are two.

    Raises:
        UserError: no rows, a repeated id, a label that is none of the classes, pairs that have not two classes.
    """
    path = folder / ROWS
    columns = ["id", *(["text"] if texts else []), *(["label"] if labels else [])]
    table = read_columns(path, columns, ["second"] if texts else [])
    ids: list[str] = table["id"].to_pylist()
    if not ids:
        raise UserError(f"{path} has no rows: raise the limit of its pool")
    refuse_repeats(ids, path)
    second = table["second"].to_pylist() if "second" in table.column_names else None
    read_texts = table["text"].to_pylist() if texts else []
    names = (read_json(folder / "manifest.json") or {}).get("metrics", {}).get("classes")
    if not labels:
        return Rows(path, ids, read_texts, np.empty(0, np.int64), [str(name) for name in names or ()], second)
    truth = table["label"].to_numpy()
    count = 2 if second is not None else int(np.nanmax(truth)) + 1
    classes = [str(name) for name in names or range(count)]
    if second is not None and len(classes) != 2:
        raise UserError(f"{path} holds pairs, whose classes are two (first or second preferred), and names {classes}")
    wrong = np.flatnonzero(~np.isin(truth, np.arange(len(classes))))
    if len(wrong):
        raise UserError(
            f"{path}: the label of row {ids[wrong[0]]} is {truth[wrong[0]]}, but the classes are 0 to {len(classes) - 1} "
            f"({len(wrong)} such rows)"
        )
    return Rows(path, ids, read_texts, truth.astype(np.int64), classes, second)


@dataclass(frozen=True)
class Problems:
    """The problems of one pool, in its fixed order."""

    path: Path
    ids: list[str]
    prompts: list[str]
    parts: Mapping[str, list[str]]  # answer, solution, level: those that the recipe names

    def need(self, part: str) -> list[str]:
        """The column of a part; UserError if the recipe names none, or a row has none."""
        if part not in self.parts:
            raise UserError(f"{self.path} has no {part}s: name the column in the data set's recipe, data.{part}=COLUMN")
        if lacking := [row for row, text in zip(self.ids, self.parts[part], strict=True) if text is None]:
            raise UserError(
                f"{self.path}: {len(lacking):,} of {len(self.ids):,} rows have no {part} (data.{part}), first row {lacking[0]}; add them, "
                "or take a pool of training rows, where such rows are left out"
            )
        return self.parts[part]

    def check_rows(self, ids: Sequence[str], path: Path) -> None:
        """Refuse the texts in the file at `path`, whose rows are `ids`, if one of them is of no row of these."""
        own = set(self.ids)
        if strange := [name for name in ids if name not in own]:
            raise UserError(f"{path} has a text of row {strange[0]}, which is no row of {self.path}")


def read_problems(folder: Path) -> Problems:
    """The problems of the artifact in `folder`.

    Raises:
        UserError: no rows, a repeated id, or rows without a prompt.
    """
    path = folder / ROWS
    table = read_columns(path, ["id", "prompt"], [part for part in PROBLEM if part != "prompt"])
    ids: list[str] = table["id"].to_pylist()
    if not ids:
        raise UserError(f"{path} has no rows: raise the limit of its pool")
    refuse_repeats(ids, path)
    parts = {name: table[name].to_pylist() for name in table.column_names if name not in ("id", "prompt")}
    return Problems(path, ids, table["prompt"].to_pylist(), parts)
