"""The process of one tracker: `python -m w2s_cli.run.tracker_process NAME`, started by a worker (`tracking.py`).

* Jobs are JSON lines on standard input: {"start": …}, {"figures": …}, {"end": metrics}. Answers are JSON lines on standard output:
  {"tell": text}, {"failed": text}, {"ended": true}. What libraries print goes to the log of the stage.
* A position file beside the tracker's own files has the last step that the tracker got, so no figure is given twice: neither those that a
  continued stage repeats nor those before its checkpoint, all of which the worker sends again. The file is locked: a process that still
  writes the end of a killed stage is waited for. A file of another shape reads as missing: the run is a new one, and gets all figures.
* The end of standard input is the end of the worker. The run is ended, and after `END_S` the process, whatever its library does.
* It is nice: the training that it tells about goes first.
"""

import fcntl
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Any, TypedDict

from w2s_cli.errors import UserError
from w2s_cli.run.trackers import TrackedStage, Tracker, load
from w2s_cli.store.files import read_json
from w2s_cli.store.shapes import fits

END_S = 60  # for a library to finish after the end of its worker
NICENESS = 5


class _Written(TypedDict):
    """A position file: the last step, −1 before the first, and the names of the figures that the tracker got of it."""

    step: Annotated[int, lambda step: step >= -1]
    names: list[str]
    ended: bool  # with its final metrics


class Position:
    """The last figures that a tracker got of a run, in a locked file."""

    def __init__(self, path: Path, open_files: ExitStack) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open_files.enter_context(path.open("a+", encoding="utf-8"))
        fcntl.flock(self.file, fcntl.LOCK_EX)
        written = read_json(path)  # under the lock
        self.is_new = not fits(written, _Written)  # a new run, or a file that was cut short or changed
        last: _Written = {"step": -1, "names": [], "ended": False} if self.is_new else written
        self.step, self.names, self.ended = last["step"], last["names"], last["ended"]

    def missing(self, step: int, figures: Mapping[str, float]) -> dict[str, float]:
        """The figures of a step that the tracker has not got."""
        if step != self.step:
            return dict(figures) if step > self.step else {}
        return {name: value for name, value in figures.items() if name not in self.names}

    def moved(self, step: int, figures: Mapping[str, float]) -> None:
        """Note that the tracker got these figures."""
        self.names = [*(self.names if step == self.step else ()), *figures]
        self.step = step
        self.write()

    def write(self) -> None:
        """Replace the file's content."""
        self.file.seek(0)
        self.file.truncate()
        self.file.write(json.dumps({"step": self.step, "names": self.names, "ended": self.ended}))
        self.file.flush()


class Run:
    """One stage in the tracker. A run that has its final metrics is not opened again."""

    def __init__(self, name: str, job: Mapping[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
        self.open = ExitStack()
        start = load(name, job["folders"])
        folder = Path(job["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self.position = Position(folder / "positions" / f"{job['stage']['id']}.json", self.open)
        self.tracker: Tracker | None = None
        if not self.position.ended:
            stage = TrackedStage(**job["stage"], continued=not self.position.is_new)
            self.tracker = start(stage, folder, lambda text: answer({"tell": text}))
            if not all(hasattr(self.tracker, method) for method in ("log", "end")):
                raise UserError("start must return an object with log(step, figures) and end(metrics)")
            self.position.write()

    def log(self, figures: dict[str, float]) -> None:
        """Give the tracker what it has not got of a line of metrics.jsonl."""
        step = int(figures.pop("step"))
        if self.tracker and (missing := self.position.missing(step, figures)):
            self.tracker.log(step, missing)
            self.position.moved(step, missing)

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """End the run."""
        with self.open:
            if self.tracker:
                self.tracker.end(metrics)
                self.position.ended = metrics is not None
                self.position.write()


def _jobs() -> Iterator[dict[str, Any]]:
    """The jobs of the worker, up to its end. A thread reads them, so that its end is noticed while a library waits."""
    waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            waiting.put(json.loads(line))
        signal.alarm(END_S)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (job := waiting.get()) is not None:
        yield job


def _print_to(path: str) -> None:
    """Let this process print to the end of a file."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def main(name: str) -> int:
    """Entry point of the process; ends at the first failure of the tracker."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.nice(NICENESS)

    def answer(value: dict[str, Any]) -> None:
        with suppress(OSError):  # the worker has ended
            channel.write(json.dumps(value) + "\n")

    run: Run | None = None
    try:
        for job in _jobs():
            if "start" in job:
                _print_to(job["start"]["log"])
                run = Run(name, job["start"], answer)
            elif run is not None and "figures" in job:
                run.log(job["figures"])
            elif run is not None:
                run.end(job["end"])
                run = None
                answer({"ended": True})
        if run is not None:
            run.end(None)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever a library or a user's file raises
        traceback.print_exc()  # into the stage's log
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        answer({"failed": " ".join(text.split())})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
