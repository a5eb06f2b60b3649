"""Who works on a stage: a kernel lock held by the worker that does the work.

* `flock` is freed by the kernel when the process dies, however it dies, so a claim is never stale. Descriptors are close-on-exec.
* A writer holds it exclusively and without waiting; who reads a finished stage's files for long holds it shared.
* owner.json only tells people who has it; it decides nothing.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from w2s_cli.store.files import read_json, write_json


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Try to own the stage folder; yields whether we do."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        write_json(folder / "owner.json", {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()})
        try:
            yield True
        finally:
            (folder / "owner.json").unlink(missing_ok=True)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep a finished stage from being redone or removed while its files are read."""
    try:
        file = (folder / ".lock").open("r")
    except (FileNotFoundError, PermissionError):  # a copied or read-only store: nobody redoes it here
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_claimed(folder: Path) -> bool:
    """Whether some process owns the stage now."""
    try:
        with (folder / ".lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, PermissionError):
        return False
    return False


def owner(folder: Path) -> str:
    """'pid 123 on host' of the process that owns the stage, for messages."""
    found = read_json(folder / "owner.json") or {}
    return f"pid {found.get('pid', '?')} on {found.get('host', '?')}" if found else "another process"


def locks_work(folder: Path) -> bool:
    """Whether file locks hold on this file system (they do not on some network mounts)."""
    probe = folder / f".lock-probe-{os.getpid()}"
    try:
        with probe.open("w") as first, probe.open("r") as second:
            json.dump({}, first)
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
