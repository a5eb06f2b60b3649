"""Predictions as files: label artifacts, written by whatever labels rows, and read against one list of rows, by id.

* Rows are joined by id and never by position; a missing, extra or repeated id is refused, so that a PGR
  always compares models on the same rows.
* The table that `evaluate` writes and `summary` reads: id, label, and per role `<role>_class`, `<role>_p`,
  `<role>_logits`, and `<role>_covered` if the role's labels say which rows they cover.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Booleans, Floats, Integers, log_p, predicted
from w2s_cli.statistics.report import ROLES, Predictions


def read_truth(folder: Path) -> tuple[list[str], Integers]:
    """Ids and classes [rows] of the rows artifact in `folder`, in its order."""
    table = _read(folder / "rows.parquet", ["id", "label"])
    ids = table.column("id").to_pylist()
    _refuse_repeats(ids, folder)
    return ids, table.column("label").to_numpy().astype(np.int64)


def read_labels(folder: Path, ids: Sequence[str]) -> Predictions:
    """The label artifact in `folder` in the order of `ids`, as one seed: [1, rows, classes].

    Labels without logits (made elsewhere) have the logarithms of their probabilities as logits; those without a column
    `covered` cover every row.

    Raises:
        UserError: other row ids than `ids`, values that are no probabilities, or rows of different lengths.
    """
    path = folder / "labels.parquet"
    table = _read(path, ["id", "p"], optional=["logits", "covered"])
    order = _order(table.column("id").to_pylist(), ids, folder)
    p = _matrix(table, "p", path)[order]
    if not np.isfinite(p).all() or (p < 0).any():
        raise UserError(f'{path}: column "p" has values that are no probabilities; make the labels again')
    if "logits" in table.column_names:
        logits = _matrix(table, "logits", path)[order]
        if np.isnan(logits).any() or logits.shape != p.shape:
            raise UserError(f'{path}: column "logits" has NaN or another length than "p"; make the labels again')
    else:
        with np.errstate(divide="ignore"):  # log 0 = −inf orders rows as it should
            logits = np.log(p)
    if "covered" not in table.column_names:
        return Predictions(p[None], logits[None])
    return Predictions(p[None], logits[None], _booleans(table, "covered", path)[order][None])


def write_labels(
    path: Path,
    ids: Sequence[str],
    p: NDArray[np.floating[Any]],
    logits: NDArray[np.floating[Any]] | None = None,
    covered: Booleans | None = None,
) -> None:
    """Write a label artifact: id; p, logits (None: those of `log_p`): list<float32>[classes]; covered, if it is given.

    The same labels give the same bytes.
    """
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "p": _lists(p)}
    columns["logits"] = _lists(log_p(np.asarray(p, dtype=np.float64)) if logits is None else logits)
    if covered is not None:
        columns["covered"] = pa.array(covered, pa.bool_())
    pq.write_table(pa.table(columns), path)


def write_rows(path: Path, ids: Sequence[str], truth: Integers, said: dict[str, Predictions]) -> None:
    """Write the table of one run (one seed per role); the same predictions give the same bytes."""
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "label": pa.array(truth, pa.int32())}
    for role, predictions in said.items():
        columns[f"{role}_class"] = pa.array(predicted(predictions.p[0]), pa.int32())
        columns[f"{role}_p"] = _lists(predictions.p[0])
        columns[f"{role}_logits"] = _lists(predictions.logits[0])
        if predictions.covered is not None:
            columns[f"{role}_covered"] = pa.array(predictions.covered[0], pa.bool_())
    pq.write_table(pa.table(columns), path)


def read_runs(folders: Sequence[Path]) -> tuple[list[str], Integers, dict[str, Predictions]]:
    """The tables of several runs as one, runs as seeds, in the row order of the first.

    Raises:
        UserError: runs with other rows, other true labels, or other roles than the first.
    """
    first = _read(folders[0] / "rows.parquet", ["id", "label"], optional=None)
    ids = first.column("id").to_pylist()
    truth = first.column("label").to_numpy().astype(np.int64)
    roles = [role for role in ROLES if f"{role}_p" in first.column_names]
    tables: dict[str, list[tuple[Floats, Floats]]] = {role: [] for role in roles}
    covers: dict[str, list[Booleans | None]] = {role: [] for role in roles}
    for folder in folders:
        path = folder / "rows.parquet"
        table = _read(path, ["id", "label"], optional=None)
        found = [role for role in ROLES if f"{role}_p" in table.column_names]
        if found != roles:
            raise UserError(
                f"{path} has the roles {', '.join(found)}, {folders[0]} has {', '.join(roles)}; "
                "summarise runs of one method"
            )
        order = _order(table.column("id").to_pylist(), ids, folder)
        if (table.column("label").to_numpy()[order] != truth).any():
            raise UserError(
                f"{path}: other true labels than {folders[0]} for the same row ids; summarise runs of one data.seed"
            )
        for role in roles:
            p, logits = (_matrix(table, f"{role}_{name}", path)[order] for name in ("p", "logits"))
            tables[role].append((p, logits))
            name = f"{role}_covered"
            covers[role].append(_booleans(table, name, path)[order] if name in table.column_names else None)
    said = {
        role: Predictions(
            np.stack([p for p, _ in runs]), np.stack([logits for _, logits in runs]), _together(covers[role], len(ids))
        )
        for role, runs in tables.items()
    }
    return ids, truth, said


def _together(covers: Sequence[Booleans | None], rows: int) -> Booleans | None:
    """[seeds, rows]; None if no seed says what it covers, all rows of a seed that does not say."""
    if all(one is None for one in covers):
        return None
    return np.stack([np.ones(rows, dtype=np.bool_) if one is None else one for one in covers])


def check_classes(truth: Integers, said: dict[str, Predictions], sources: dict[str, Path]) -> None:
    """Refuse roles with different numbers of classes, or test rows with a class that the models do not have."""
    counts = {role: predictions.p.shape[-1] for role, predictions in said.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{role} {count} ({sources[role]})" for role, count in counts.items())
        raise UserError(f"the models have different numbers of classes: {listed}; label with models of one task")
    classes = next(iter(counts.values()))
    if truth.min() < 0 or truth.max() >= classes:
        raise UserError(
            f"the test rows have classes {truth.min()} to {truth.max()}, the models 0 to {classes - 1}; "
            "label with models of this task"
        )


def _read(path: Path, columns: list[str], optional: list[str] | None = None) -> pa.Table:
    """Table with `columns` and those of `optional` that it has (None: all others)."""
    if not path.is_file():
        raise UserError(f"{path} is missing; run the stage that makes it again")
    try:
        names = pq.read_schema(path).names
        missing = [name for name in columns if name not in names]
        if missing:
            raise UserError(f'{path} has no column "{missing[0]}"; it has {", ".join(names)}')
        wanted = names if optional is None else columns + [name for name in optional if name in names]
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); run the stage that makes it again") from error


def _matrix(table: pa.Table, name: str, path: Path) -> Floats:
    """A column of lists as [rows, classes] in float64."""
    column = table.column(name).combine_chunks()
    rows = len(column)
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    lengths = set(column.value_lengths().to_pylist())
    if len(lengths) != 1 or None in lengths or min(lengths) < 2:
        raise UserError(f'{path}: the lists of column "{name}" are not all of one length ≥ 2; make the labels again')
    return np.asarray(values.reshape(rows, -1), dtype=np.float64)


def _booleans(table: pa.Table, name: str, path: Path) -> Booleans:
    """A column of true and false, [rows]."""
    column = table.column(name)
    if column.type != pa.bool_() or column.null_count:
        raise UserError(f'{path}: column "{name}" must be true or false in every row; make the labels again')
    return np.asarray(column.to_numpy(), dtype=np.bool_)


def _lists(matrix: NDArray[np.floating[Any]]) -> pa.Array:
    """[rows, classes] as a column of float32 lists."""
    rows, classes = matrix.shape
    offsets = pa.array(np.arange(rows + 1) * classes, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel().astype(np.float32), pa.float32()))


def _order(found: Sequence[str], ids: Sequence[str], folder: Path) -> Integers:
    """Positions in `found` of `ids`; both must hold the same ids, once each."""
    _refuse_repeats(found, folder)
    place = {row: position for position, row in enumerate(found)}
    missing = [row for row in ids if row not in place]
    extra = sorted(set(found) - set(ids))
    if missing or extra:
        said = [
            f"{len(rows)} {what} (first: {', '.join(rows[:3])})"
            for what, rows in (("missing", missing), ("extra", extra))
            if rows
        ]
        raise UserError(
            f"{folder}: its {len(found)} row ids are not the {len(ids)} test rows: {', '.join(said)}. "
            "All models are compared on the same rows; label these rows with this model"
        )
    return np.array([place[row] for row in ids], dtype=np.int64)


def _refuse_repeats(ids: Sequence[str], folder: Path) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    repeated = [row for row in ids if row in seen or seen.add(row)]  # type: ignore[func-returns-value]
    raise UserError(f"{folder}: {len(repeated)} row ids come twice (first: {', '.join(repeated[:3])}); make it again")
