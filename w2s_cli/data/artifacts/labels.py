"""labels.parquet: what a model, a rule or a file says about the rows of a pool.

* Columns: id; p, logits: list<float32>[classes]; covered: bool, where some rows may have no label.
* Labels without logits (made elsewhere) have the logarithms of their probabilities as logits; those without a column `covered` cover
  every row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.data.artifacts import LABELS
from w2s_cli.data.artifacts.tables import booleans, lists, matrix, order_of, read_columns
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import TOLERANCE, Booleans, Floats, Integers, log_p
from w2s_cli.statistics.report import Predictions


@dataclass(frozen=True)
class Labels:
    """The labels of one pool, in the order of the ids that they were read for."""

    p: Floats  # [rows, classes] probabilities
    logits: Floats  # [rows, classes]
    covered: Booleans | None = (
        None  # [rows], whether a row has a label; None: the labels do not say, and every row has one
    )

    @property
    def has_label(self) -> Booleans:
        """Whether each row has a label: [rows]."""
        return np.ones(len(self.p), dtype=np.bool_) if self.covered is None else self.covered

    def as_predictions(self) -> Predictions:
        """The labels as the predictions of one seed."""
        return Predictions(self.p[None], self.logits[None], None if self.covered is None else self.covered[None])


def write_labels(
    folder: Path,
    ids: Sequence[str],
    p: NDArray[np.floating[Any]],
    logits: NDArray[np.floating[Any]] | None = None,
    covered: Booleans | None = None,
) -> None:
    """Write the artifact.

    Args:
        p: [rows, classes].
        logits: [rows, classes]; None: the logarithms of p (`log_p`).
        covered: [rows]; None: no such column.
    """
    columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "p": lists(p)}
    columns["logits"] = lists(log_p(np.asarray(p, dtype=np.float64)) if logits is None else logits)
    if covered is not None:
        columns["covered"] = pa.array(covered, pa.bool_())
    pq.write_table(pa.table(columns), folder / LABELS)


def read_labels(folder: Path, ids: Sequence[str], *, every_row: bool = True) -> Labels:
    """The artifact in `folder` in the order of `ids`.

    Args:
        every_row: rows without a label must hold probabilities, too. False for a reader that never looks at them.

    Raises:
        UserError: other row ids than `ids`; values that are no probabilities, or do not add up to 1; lists of different lengths.
    """
    path = folder / LABELS
    table = read_columns(path, ["id", "p"], ["logits", "covered"])
    order = order_of(ids, table["id"].to_pylist(), path)
    p = matrix(table, "p", path)[order]
    covered = booleans(table, "covered", path)[order] if "covered" in table.column_names else None
    labelled = np.ones(len(ids), dtype=np.bool_) if covered is None else covered
    wrong = np.flatnonzero(~(np.isfinite(p) & (p >= 0)).all(axis=1) & (labelled | every_row))
    if len(wrong):
        raise UserError(
            f'{path}: column "p" has values that are no probabilities: row {ids[wrong[0]]} has {p[wrong[0]].tolist()} '
            f"({len(wrong)} such rows); make the labels again"
        )
    wrong = np.flatnonzero((np.abs(p.sum(axis=1) - 1) > TOLERANCE) & labelled)
    if len(wrong):
        raise UserError(
            f"{path}: the probabilities of row {ids[wrong[0]]} add up to {p[wrong[0]].sum():.6g}, not to 1 "
            f"({len(wrong)} such rows); make the labels again"
        )
    if "logits" in table.column_names:
        logits = matrix(table, "logits", path)[order]
        if logits.shape != p.shape or np.isnan(logits[labelled | every_row]).any():
            raise UserError(f'{path}: column "logits" has NaN or another length than "p"; make the labels again')
    else:
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 = −inf orders rows as it should
            logits = np.log(p)
    return Labels(p, logits, covered)


def check_classes(truth: Integers, labels: Mapping[str, Labels], sources: Mapping[str, Path]) -> None:
    """Refuse labels of different numbers of classes, and true classes that the labels do not have.

    Args:
        truth: [rows].
        labels: name → labels of these rows.
        sources: name → folder, for the message.
    """
    counts = {name: one.p.shape[-1] for name, one in labels.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count} ({sources[name]})" for name, count in counts.items())
        raise UserError(f"the models have different numbers of classes: {listed}; label with models of one task")
    classes = next(iter(counts.values()))
    if truth.min() < 0 or truth.max() >= classes:
        raise UserError(
            f"the test rows have classes {truth.min()} to {truth.max()}, the models 0 to {classes - 1}; "
            "label with models of this task"
        )
