"""Claims: a worker holds a lock on the stage that it makes, so no stage is made twice at the same time.

* The kernel releases its lock when the process ends, in any way, so a claim is never stale. Descriptors are close-on-exec.
* A store on a file system without working locks has leases in their place (`locks.py`).
* A writer takes the lock exclusively, and does not wait for it. A long reader of a finished stage takes it shared.
* owner.json tells people the owner of a claim; no code decides by it.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from w2s_cli.store import locks
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.places import owned_stage

LOCK = ".lock"
OWNER = "owner.json"


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Try to claim the stage folder; yields whether the claim succeeded.

    Raises:
        StoreError: the folder lies outside of its store, or a file in it is a link.
    """
    with locks.exclusive(owned_stage(folder) / LOCK, folder.parents[2], wait=False) as taken:
        if not taken:
            yield False
            return
        write_json(folder / OWNER, this_process())
        try:
            yield True
        finally:
            (folder / OWNER).unlink(missing_ok=True)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Within the block a finished stage is neither redone nor removed, so that its files can be read."""
    with ExitStack() as held:
        # suppressed: a copied or read-only store, whose stages cannot be redone
        with suppress(FileNotFoundError, PermissionError):
            held.enter_context(locks.shared(folder / LOCK, folder.parents[2]))
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a process has claimed the stage."""
    with suppress(PermissionError):
        return locks.is_locked(folder / LOCK, folder.parents[2])
    return False


def owner(folder: Path) -> str:
    """'pid 123 on host' of the process with the claim, for messages."""
    return process_of(read_json(folder / OWNER))


def this_process() -> dict[str, Any]:
    """This process as a claim or a hold names it to people."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}


def process_of(written: Any) -> str:
    """'pid 123 on host' of {"pid", "host"}, for messages."""
    return f"pid {written.get('pid', '?')} on {written.get('host', '?')}" if isinstance(written, dict) else "a process"
