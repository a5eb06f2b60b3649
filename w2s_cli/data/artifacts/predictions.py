"""predictions.parquet: what every role of a run says about the test rows; `evaluate` writes it, `summary` and tables read it.

Columns: id, label, and for each role `<role>_class`, `<role>_p`, `<role>_logits`, and `<role>_covered` if the role's labels say which rows
they cover.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.data.artifacts import PREDICTIONS
from w2s_cli.data.artifacts.tables import booleans, lists, matrix, order_of, read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Booleans, Floats, Integers, predicted
from w2s_cli.statistics.report import ROLES, Predictions


def write_predictions(folder: Path, ids: Sequence[str], truth: Integers, by_role: Mapping[str, Predictions]) -> None:
    """Write the artifact of one run, which has one seed for each role; `truth` is [rows]."""
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "label": pa.array(truth, pa.int32())}
    for role, predictions in by_role.items():
        columns[f"{role}_class"] = pa.array(predicted(predictions.p[0]), pa.int32())
        columns[f"{role}_p"] = lists(predictions.p[0])
        columns[f"{role}_logits"] = lists(predictions.logits[0])
        if predictions.covered is not None:
            columns[f"{role}_covered"] = pa.array(predictions.covered[0], pa.bool_())
    pq.write_table(pa.table(columns), folder / PREDICTIONS)


def read_predictions(folders: Sequence[Path]) -> tuple[list[str], Integers, dict[str, Predictions]]:
    """The artifacts of several runs as one: ids, true classes [rows] and, by role, predictions with a seed for each run.

    Rows stand in the order of the first run.

    Raises:
        UserError: runs with other rows, other true labels, or other roles than the first.
    """
    ids: list[str] = []
    truth: Integers = np.empty(0, np.int64)
    roles: list[str] = []
    tables: dict[str, list[tuple[Floats, Floats]]] = {}
    covers: dict[str, list[Booleans | None]] = {}
    for number, folder in enumerate(folders):
        path = folder / PREDICTIONS
        table = read_columns(path, ["id", "label"], optional=None)
        own_roles = [role for role in ROLES if f"{role}_p" in table.column_names]
        labels = table.column("label").to_numpy().astype(np.int64)
        if not number:
            ids, truth, roles = table.column("id").to_pylist(), labels, own_roles
        if own_roles != roles:
            raise UserError(
                f"{path} has the roles {', '.join(own_roles)}, {folders[0]} has {', '.join(roles)}; "
                "summarise runs of one method"
            )
        order = order_of(ids, table.column("id").to_pylist(), path)
        if (labels[order] != truth).any():
            raise UserError(
                f"{path}: other true labels than {folders[0]} for the same row ids; summarise runs of one data.test_seed"
            )
        for role in roles:
            p, logits = (matrix(table, f"{role}_{name}", path)[order] for name in ("p", "logits"))
            tables.setdefault(role, []).append((p, logits))
            name = f"{role}_covered"
            covers.setdefault(role, []).append(
                booleans(table, name, path)[order] if name in table.column_names else None
            )
    by_role = {
        role: Predictions(
            np.stack([p for p, _ in runs]), np.stack([logits for _, logits in runs]), _together(covers[role], len(ids))
        )
        for role, runs in tables.items()
    }
    return ids, truth, by_role


def _together(covers: Sequence[Booleans | None], rows: int) -> Booleans | None:
    """[seeds, rows]; None if no seed says what it covers, all rows of a seed that does not say."""
    if all(one is None for one in covers):
        return None
    return np.stack([np.ones(rows, dtype=np.bool_) if one is None else one for one in covers])
