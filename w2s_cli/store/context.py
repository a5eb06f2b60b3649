"""The context of a stage run, beside the stage's identity: its folders, its execution options, its channels for reports.

* Nothing in a `Context` may change a result, so no part of it is in the stage's key.
* Progress goes to the scheduler as JSON lines through `emit`; log and metrics go to files of the stage's folder,
  so that `w2s logs` and a resumed run find them.
* Where several processes share a stage, rank 0 writes and the others are silent. The part that they share ends with `rest_alone`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from w2s_cli.store.files import DIGESTS, write_bytes
from w2s_cli.store.ranks import ALONE, Ranks
from w2s_cli.store.shapes import fits


class _Metric(TypedDict):
    """What every line of metrics.jsonl has."""

    step: int


def _metric(line: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for no metric, such as a line cut short by a crash."""
    try:
        value: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if fits(value, _Metric) else None


class Stopped(Exception):  # noqa: N818 - no error: a stop on request
    """The stage has stopped on request, and saved its state."""


class Restart(Exception):  # noqa: N818 - no error: the stage goes on
    """The stage has saved its state, and goes on in a new process: a library keeps a failure for the rest of this one."""


class Served(Exception):  # noqa: N818 - no error: this process is done
    """This process has done its part of the stage; rank 0 does the rest."""


@dataclass
class Context:
    """Folders, execution options and channels of one stage run."""

    folder: Path  # the stage's folder: log.txt, metrics.jsonl
    work: Path  # resumable state; survives crashes, removed on success
    result: Path  # artifacts are written here, then published in one rename
    execution: dict[str, Any] = field(default_factory=dict)
    emit: Callable[[dict[str, Any]], None] = lambda event: None
    stop_requested: Callable[[], bool] = lambda: False
    track: Callable[[dict[str, Any]], None] = lambda metric: None  # shows a line of metrics.jsonl in the trackers
    cache: Path | None = None  # of the outputs folder, shared by stages; None: no cache
    measured: dict[str, Any] = field(default_factory=dict)  # goes to record.json
    ranks: Ranks = ALONE  # of the processes that share the stage
    _last_checkpoint: float = field(default_factory=time.monotonic)
    _checkpoint_took: float = 0.0  # seconds
    _last_emit: float = 0.0

    @property
    def digests(self) -> Path | None:
        """The cache of file digests (`store.files.sha256_file`), as plans use it."""
        return self.cache and self.cache / DIGESTS

    def rest_alone(self) -> None:
        """Leave the rest of the stage to rank 0.

        Raises:
            Served: in every other process.
        """
        if self.ranks.rank:
            raise Served
        self.ranks = ALONE

    def log(self, message: str) -> None:
        """Add a line to log.txt."""
        if self.ranks.rank:
            return
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {message}\n")

    def progress_due(self, step: int, total: int) -> bool:
        """Whether `progress` sends an event now: at most five times a second, and always at the end. Rank 0 decides."""
        return not self.ranks.rank and (step >= total or time.monotonic() - self._last_emit >= 0.2)

    def progress(self, step: int, total: int, **figures: float) -> None:
        """Send the stage's position to the live view, if an event is due."""
        if not self.progress_due(step, total):
            return
        self._last_emit = time.monotonic()
        self.emit({"event": "progress", "step": step, "total": total, **figures})

    def record_metric(self, step: int, **values: float) -> None:
        """Add a line to metrics.jsonl."""
        if self.ranks.rank:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self.track({"step": step, **values})

    def cut_metrics(self, step: int) -> None:
        """Drop the metrics after `step`: a resumed run records them again. Trackers are shown the others: they may lack some."""
        path = self.folder / "metrics.jsonl"
        if self.ranks.rank or not path.exists():
            return
        lines = [(line + b"\n", _metric(line)) for line in path.read_bytes().splitlines()]
        kept = [(line, metric) for line, metric in lines if metric is not None and metric["step"] <= step]
        write_bytes(path, b"".join(line for line, _ in kept))
        for _, metric in kept:
            self.track(metric)

    def checkpoint_due(self) -> bool:
        """Whether `execution.checkpoint_seconds` have passed, and so many that writing takes a twentieth of the time; with 0: always.

        Rank 0 decides; the others say no.
        """
        if self.ranks.rank:
            return False
        pause = float(self.execution.get("checkpoint_seconds", 30))
        return time.monotonic() - self._last_checkpoint >= (max(pause, 19 * self._checkpoint_took) if pause else 0)

    def checkpoint_written(self, took: float) -> None:
        """Note that a checkpoint is on the disk, after `took` seconds of writing."""
        self._last_checkpoint, self._checkpoint_took = time.monotonic(), took

    def measure(self, **values: Any) -> None:
        """Add timings and counts to record.json. They are no part of the result."""
        self.measured.update(values)
