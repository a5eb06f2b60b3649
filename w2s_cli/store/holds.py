"""Holds: a running command keeps the stages that it planned; no other command removes them or their weights.

* A hold is a file `hold-….json` in the folder of the run, with the process and the keys of the stages. The process has the kernel's lock
  on it, as on a claim (`claims.py`): the hold of a dead process counts for nothing.
* A lock of the whole store orders holds and removals. A command takes its hold under it before it looks at any stage, and a removal asks
  for holds under it. So a stage is either removed before a command looks, or held.
* A stage in the queue of a batch system is held with its inputs, whether or not its command still runs (`queued.py`).
* A hold that is locked and cannot be read holds every stage, and so does a folder of runs that this user may not look into.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from w2s_cli.store import locks
from w2s_cli.store.claims import process_of, this_process
from w2s_cli.store.files import read_json, unique
from w2s_cli.store.places import RUNS, StoreError, closed_folders, owned
from w2s_cli.store.queued import QUEUE, queued
from w2s_cli.store.shapes import fits
from w2s_cli.store.store import unwritable

PREFIX = "hold-"
OWN = unique()  # this process: two containers may have one host name and the same process ids


class _Written(TypedDict):
    """A hold's file."""

    process: str  # OWN of the process
    keys: list[str]


@dataclass(frozen=True)
class Hold:
    """The stages that a running command holds."""

    run: Path  # folder of the run, or of the stage in a queue
    process: str  # for messages
    keys: frozenset[str] | None  # None: every stage

    def has(self, key: str) -> bool:
        """Whether the stage is held."""
        return self.keys is None or key in self.keys

    def __str__(self) -> str:
        place = self.run.parent.name
        return (
            f"{self.process} (stage {self.run.name})"
            if place == QUEUE
            else f"{self.process} (run {place}/{self.run.name})"
        )


@contextmanager
def removing(root: Path) -> Iterator[None]:
    """Within the block no command of the store takes a hold, and no other removes anything."""
    with locks.exclusive(owned(root / ".lock", root), root, wait=True):
        yield


@contextmanager
def hold(run: Path, root: Path, keys: Iterable[str]) -> Iterator[None]:
    """Hold the stages `keys` for the command of the run's folder `run`, in the store at `root`.

    Raises:
        StoreError: the folder cannot be written, or does not lie in the store.
    """
    path = owned(run / f"{PREFIX}{unique()}.json", root)
    with ExitStack() as ending:
        try:
            with removing(root):
                for left in [left for left in run.glob(f"{PREFIX}*.json") if not _is_held(left, root)]:
                    for file in run.glob(f"{left.name}*"):  # a lease too
                        file.unlink()
                ending.callback(path.unlink, missing_ok=True)
                ending.enter_context(locks.exclusive(path, root, wait=True))
                path.write_text(json.dumps({**this_process(), "process": OWN, "keys": sorted(keys)}), encoding="utf-8")
        except OSError as error:
            raise StoreError(unwritable(Path(error.filename or run), error)) from error
        yield


def holds(root: Path) -> list[Hold]:
    """The holds of all other processes that run in the store at `root`."""
    listed = [Hold(folder, "a process of another user", None) for folder in closed_folders(root)]
    for path in [path for kind in RUNS for path in root.glob(f"{kind}/*/*/{PREFIX}*.json") if _is_held(path, root)]:
        try:
            written = read_json(path)
        except OSError:  # of another user
            written = None
        if not fits(written, _Written):
            listed.append(Hold(path.parent, process_of(written), None))
        elif written["process"] != OWN:
            listed.append(Hold(path.parent, process_of(written), frozenset(written["keys"])))
    for key, job in queued(root).items():
        listed.append(Hold(root / QUEUE / key, f"{job['launcher']} job {job['job']}", frozenset([key, *job["inputs"]])))
    return listed


def holder(root: Path, key: str) -> Hold | None:
    """The hold of another process on a stage, if there is one."""
    return next((one for one in holds(root) if one.has(key)), None)


def _is_held(path: Path, root: Path) -> bool:
    try:
        return locks.is_locked(path, root)
    except OSError:  # of another user, or no file: it may be held
        return True
