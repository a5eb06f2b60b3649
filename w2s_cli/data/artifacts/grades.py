"""grades.parquet: the answers in texts, compared with the right ones.

Columns: id, answer (null: none), outcome (see `graders.Outcome`), finish: string; sample, tokens: int32; well_formed: bool. In the order of
the texts, with their lengths and ends, so that a comparison needs no other file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.data.artifacts import GRADES
from w2s_cli.data.artifacts.completions import Completions
from w2s_cli.data.artifacts.tables import booleans, read_columns
from w2s_cli.errors import UserError
from w2s_cli.graders import Grade, Outcome
from w2s_cli.statistics.figures import Booleans, Integers


@dataclass(frozen=True)
class Grades:
    """The grades of some texts, in their order."""

    path: Path
    answers: list[str | None]
    outcomes: list[str]
    well_formed: Booleans  # [texts]

    @property
    def right(self) -> Booleans:
        """[texts] true where the answer is right; a time-out or an error of the grader is not."""
        return np.array([outcome == "right" for outcome in self.outcomes], dtype=np.bool_)


def write_grades(folder: Path, completions: Completions, grades: Sequence[Grade]) -> None:
    """Write the artifact; the grades are in the order of the completions."""
    columns = {
        "id": pa.array(completions.ids, pa.string()),
        "sample": pa.array(completions.samples, pa.int32()),
        "tokens": pa.array(completions.tokens, pa.int32()),
        "finish": pa.array(completions.finishes, pa.string()),
        "answer": pa.array([grade.value for grade in grades], pa.string()),
        "outcome": pa.array([grade.outcome for grade in grades], pa.string()),
        "well_formed": pa.array([grade.well_formed for grade in grades], pa.bool_()),
    }
    pq.write_table(pa.table(columns), folder / GRADES)


def read_grades(folder: Path, completions: Completions) -> Grades:
    """The artifact in `folder`, in the order of `completions`.

    Raises:
        UserError: grades of other texts, or an unknown outcome.
    """
    path = folder / GRADES
    table = read_columns(path, ["id", "sample", "answer", "outcome", "well_formed"])
    stored = list(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True))
    places = {name: place for place, name in enumerate(stored)}
    if len(places) < len(stored) or set(places) != set(completions.names):
        raise UserError(f"{path} grades other texts than those of {completions.path}; grade these")
    order = [places[name] for name in completions.names]
    answers, outcomes = table["answer"].to_pylist(), table["outcome"].to_pylist()
    if strange := set(outcomes) - set(get_args(Outcome)):
        raise UserError(f"{path}: unknown outcome {', '.join(map(str, strange))}; run the stage that makes it again")
    well_formed = booleans(table, "well_formed", path)
    return Grades(path, [answers[at] for at in order], [outcomes[at] for at in order], well_formed[order])


def read_graded(folder: Path, ids: Sequence[str]) -> "Graded":
    """The grades in `folder` as a table of rows and samples, in the order of the rows `ids`.

    Raises:
        UserError: other rows, or not the same number of samples for each.
    """
    path = folder / GRADES
    table = read_columns(path, ["id", "sample", "tokens", "finish", "answer", "outcome", "well_formed"])
    rows: dict[str, list[tuple[int, int]]] = {}
    for place, (name, sample) in enumerate(zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True)):
        rows.setdefault(name, []).append((sample, place))
    if set(rows) != set(ids) or len({len(samples) for samples in rows.values()}) != 1:
        raise UserError(
            f"{path}: its {len(rows)} rows are not the {len(ids)} rows of this stage, each with as many samples: what is compared must be "
            "about the same rows; generate and grade these"
        )
    at = np.array([[place for _, place in sorted(rows[name])] for name in ids], dtype=np.int64)  # [rows, samples]
    outcomes, finishes = np.array(table["outcome"].to_pylist()), np.array(table["finish"].to_pylist())
    answers = np.array([answer if answer is not None else "" for answer in table["answer"].to_pylist()], dtype=object)
    return Graded(
        outcomes[at] == "right",
        answers[at],
        booleans(table, "well_formed", path)[at],
        finishes[at] == "length",
        table["tokens"].to_numpy().astype(np.int64)[at],
    )


@dataclass(frozen=True)
class Graded:
    """Graded texts, each field as [rows, samples]."""

    right: Booleans
    answers: NDArray[np.object_]  # "" for none
    well_formed: Booleans
    cut: Booleans
    tokens: Integers
