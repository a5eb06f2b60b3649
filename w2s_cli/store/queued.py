"""Stages in the queue of a batch system: outputs/.queue/<key>.json names the job that is going to make a stage.

* The command that submits the job writes the file, under a lock of the store, so that two commands do not submit one stage twice. The job
  removes it at its end. A job that the system ended in another way leaves it behind; `run.queueing` asks the system, and removes it.
* The stage and its inputs are held meanwhile (`holds.py`): a job may start days after its command has ended.
* No result depends on the file: the claim of the worker alone keeps a stage from being made twice. So it is not forced to the disk, which
  would cost a sweep of 10,000 stages a minute.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from w2s_cli.store import locks
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.places import owned
from w2s_cli.store.shapes import Time, fits

QUEUE = ".queue"


class Job(TypedDict):
    """A file of the queue."""

    launcher: str  # run/launchers/<launcher>.py
    job: str  # its id in the batch system: "123", or "123_4" of an array
    submitted: Time
    log: str  # what the job prints outside of the stage's own log
    inputs: list[str]  # keys


def read_queued(root: Path, key: str) -> Any:
    """The job (`Job`) that is going to make the stage; None without one."""
    written = read_json(root / QUEUE / f"{key}.json")
    return written if fits(written, Job) else None


def queued(root: Path) -> dict[str, Any]:
    """Stage → its job, of all stages in the queue of the store at `root`."""
    jobs = {path.stem: read_queued(root, path.stem) for path in sorted((root / QUEUE).glob("*.json"))}
    return {key: job for key, job in jobs.items() if job is not None and len(key) == KEY_DIGITS}


def enter_queue(root: Path, key: str, job: Job) -> None:
    """Note the job that is going to make the stage."""
    owned(root / QUEUE, root).mkdir(exist_ok=True)
    write_json(root / QUEUE / f"{key}.json", job, durable=False)


def leave_queue(root: Path, key: str) -> None:
    """The stage has no job any more."""
    owned(root / QUEUE / f"{key}.json", root).unlink(missing_ok=True)


@contextmanager
def submitting(root: Path) -> Iterator[None]:
    """Within the block no other command of the store submits jobs."""
    with locks.exclusive(owned(root / ".submitting", root), root, wait=True):
        yield
