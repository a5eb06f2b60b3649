"""graded.parquet: every role's graded answers to the test rows, one line a row; `evaluate_texts` writes it, `summary_texts` reads it.

Columns: id, level (if the recipe has levels), and for each role `<role>_right`, `<role>_well_formed`, `<role>_cut` (numbers of samples),
`<role>_samples`, `<role>_tokens` (over all samples): int32, and `<role>_votes` (for each number of samples in `statistics.graded.sizes` the
share of groups whose majority is right): lists of float64.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import GRADED
from w2s_cli.data.artifacts.grades import Graded
from w2s_cli.data.artifacts.tables import order_of, read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.graded import COUNTS, Answers, votes_right

ROLE = "_right"  # end of the column that names a role


def answers_of(graded: Graded) -> Answers:
    """One role's graded texts as counts, with one seed."""
    samples = np.full(len(graded.right), graded.right.shape[1], dtype=np.int64)
    return Answers(
        right=graded.right.sum(1)[None],
        well_formed=graded.well_formed.sum(1)[None],
        cut=graded.cut.sum(1)[None],
        tokens=graded.tokens.sum(1)[None],
        samples=samples[None],
        votes=votes_right(graded.answers, graded.right)[None],
    )


def write_graded(
    folder: Path, ids: Sequence[str], levels: Sequence[str] | None, by_role: Mapping[str, Answers]
) -> None:
    """Write the artifact of one run, which has one seed for each role."""
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string())}
    if levels is not None:
        columns["level"] = pa.array(levels, pa.string())
    for role, answers in by_role.items():
        for name in COUNTS:
            columns[f"{role}_{name}"] = pa.array(getattr(answers, name)[0], pa.int32())
        columns[f"{role}_votes"] = pa.array(list(answers.votes[0]), pa.list_(pa.float64()))
    pq.write_table(pa.table(columns), folder / GRADED)


def read_graded_runs(folders: Sequence[Path]) -> tuple[list[str], list[str] | None, dict[str, Answers]]:
    """The artifacts of several runs as one: ids, levels and, by role, answers with a seed for each run.

    Raises:
        UserError: runs with other rows or other roles than the first.
    """
    ids: list[str] = []
    levels: list[str] | None = None
    roles: list[str] = []
    parts: dict[str, list[Answers]] = {}
    for number, folder in enumerate(folders):
        path = folder / GRADED
        table = read_columns(path, ["id"], optional=None)
        own = [name.removesuffix(ROLE) for name in table.column_names if name.endswith(ROLE)]
        if not number:
            ids, roles = table["id"].to_pylist(), own
            levels = table["level"].to_pylist() if "level" in table.column_names else None
        if own != roles:
            raise UserError(
                f"{path} has the roles {', '.join(own)}, {folders[0]} has {', '.join(roles)}; summarise runs of one method"
            )
        order = order_of(ids, table["id"].to_pylist(), path)
        for role in roles:
            counts = {name: table[f"{role}_{name}"].to_numpy().astype(np.int64)[order][None] for name in COUNTS}
            votes = np.array(table[f"{role}_votes"].to_pylist(), dtype=np.float64)[order][None]
            parts.setdefault(role, []).append(Answers(**counts, votes=votes))
    return ids, levels, {role: Answers.joined(runs) for role, runs in parts.items()}
