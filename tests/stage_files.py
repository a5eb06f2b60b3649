"""What the tests of stages on files share: a stage's folder, and the rows and labels artifacts that it reads."""

import json
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.store import faults
from w2s_cli.store.context import Context


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


def killed(work: Callable[[], object], point: str, folder: Path) -> None:
    """Call `work` in a copy of this process that must die at `point`, as a worker does that is killed there.

    The copy has torch and transformers loaded, which a new process would load for 3 CPU seconds. Its random state is another one, so
    that a later run in this process continues what a stranger began.
    """
    log = folder / "hits"
    child = os.fork()
    if child == 0:
        try:
            import torch

            os.environ |= {"W2S_FAULT": point, "W2S_FAULT_LOG": str(log)}
            faults._passages.clear()
            torch.manual_seed(os.getpid())
            work()
        except BaseException:
            traceback.print_exc()
        os._exit(1)  # neither pytest nor its fixtures go on here
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the work came to an end"
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert log.read_text().strip() == point.partition(":")[0]
