"""Claims: a worker holds a kernel lock on the stage that it makes, so no stage is made twice at the same time.

* The kernel releases `flock` when the process ends, in any way, so a claim is never stale. Descriptors are close-on-exec.
* A writer takes the lock exclusively, and does not wait for it. A long reader of a finished stage takes it shared.
* owner.json tells people the owner of a claim; no code decides by it.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.places import owned_stage


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Try to claim the stage folder; yields whether the claim succeeded.

    Raises:
        StoreError: the folder lies outside of its store, or a file in it is a link.
    """
    with (owned_stage(folder) / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        write_json(folder / "owner.json", this_process())
        try:
            yield True
        finally:
            (folder / "owner.json").unlink(missing_ok=True)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Within the block a finished stage is neither redone nor removed, so that its files can be read."""
    try:
        file = (folder / ".lock").open("r")
    except (FileNotFoundError, PermissionError):  # a copied or read-only store: its stages cannot be redone
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a process has claimed the stage."""
    with suppress(PermissionError):
        return is_locked(folder / ".lock")
    return False


def is_locked(path: Path) -> bool:
    """Whether a process holds the file's lock exclusively.

    Raises:
        PermissionError: the file cannot be opened.
    """
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def owner(folder: Path) -> str:
    """'pid 123 on host' of the process with the claim, for messages."""
    return process_of(read_json(folder / "owner.json"))


def this_process() -> dict[str, Any]:
    """This process as a claim or a hold names it to people."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}


def process_of(written: Any) -> str:
    """'pid 123 on host' of {"pid", "host"}, for messages."""
    return f"pid {written.get('pid', '?')} on {written.get('host', '?')}" if isinstance(written, dict) else "a process"


def locks_work(folder: Path) -> bool:
    """Whether file locks work on this file system (some network mounts ignore them)."""
    probe = folder / f".lock-probe-{os.getpid()}"
    try:
        with probe.open("x") as first, probe.open("r") as second:
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
