"""What the tests of stages on files share: a stage's folder, and the rows and labels artifacts that it reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.context import Context


def context(folder: Path, **execution: Any) -> Context:
    """A stage's folder as the worker makes it."""
    for name in ("work", "result"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Context(folder, folder / "work", folder / "result", execution)


def write_rows(folder: Path, truth: np.ndarray) -> Path:
    """A rows artifact without texts, with the ids row-0, row-1, …"""
    folder.mkdir(parents=True)
    ids = [f"row-{i}" for i in range(len(truth))]
    pq.write_table(pa.table({"id": ids, "label": pa.array(truth, pa.int32())}), folder / "rows.parquet")
    return folder


def write_labels(
    folder: Path,
    p: np.ndarray,
    *,
    order: Sequence[int] | None = None,
    covered: Sequence[bool] | np.ndarray | None = None,
    **metrics: Any,
) -> Path:
    """A labels artifact of the ids row-0, row-1, …, with its manifest; `order` is the order of its rows in the file."""
    folder.mkdir(parents=True)
    order = range(len(p)) if order is None else order
    columns = {"id": [f"row-{i}" for i in order], "p": pa.array([p[i] for i in order], pa.list_(pa.float32()))}
    if covered is not None:
        columns["covered"] = pa.array([bool(covered[i]) for i in order])
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    (folder / "manifest.json").write_text(json.dumps({"metrics": metrics}))
    return folder
