"""Leases: locks for file systems whose own do not work, by a file that its holder touches every few seconds.

* A lease is a file that is made by a link, which one process alone can make. A thread of the holder touches it every `BEAT_S`. A lease that
  nobody has touched for `STALE_S` is over: its holder is dead, or so slow that it counts as dead.
* Its age is the difference of two times of the file system, that of the lease and that of a file made now, so the clocks of the hosts may
  differ. Where a file system takes the hosts' own times, they may differ by less than `STALE_S`.
* A holder that finds its lease gone was suspended for too long, and another process works in its place: it ends at once, without a word to
  any file. The kernel's locks need none of this, so leases are used only where a store says so (`locks.py`).
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from w2s_cli.store.files import unique

BEAT_S, STALE_S = 10.0, 90.0
LOOK_S = 0.5  # between two tries of a process that waits
READER = ".reader-"


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[bool]:
    """A lease on `path` against all others; yields whether this process has it. `wait`: until it has."""
    lease, own = _named(path), unique()
    while not (taken := _take(lease, own)) or _read_by(path):
        if taken:
            _leave(lease, own)
        if not wait:
            yield False
            return
        time.sleep(LOOK_S)
    with _beating(lease, own):
        yield True


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """A lease on `path` beside other readers; waits for the end of an exclusive one."""
    own = unique()
    lease = path.with_name(f"{path.name}{READER}{own}")
    while True:
        lease.write_text(own, encoding="utf-8")
        if not is_held(path):
            break
        lease.unlink(missing_ok=True)
        time.sleep(LOOK_S)
    with _beating(lease, own):
        yield


def is_held(path: Path) -> bool:
    """Whether a process has an exclusive lease on `path`."""
    return not _is_over(_named(path))


def _named(path: Path) -> Path:
    return path.with_name(f"{path.name}.lease")


def _read_by(path: Path) -> bool:
    """Whether a process has a shared lease on `path`; leases that are over are removed."""
    readers = list(path.parent.glob(f"{path.name}{READER}*"))
    for reader in [reader for reader in readers if _is_over(reader)]:
        reader.unlink(missing_ok=True)
    return any(reader.exists() for reader in readers)


def _take(lease: Path, own: str) -> bool:
    """Make the lease, or take over one that is over."""
    if _make(lease, own):
        return True
    if not _is_over(lease):
        return False
    takeover = lease.with_name(f"{lease.name}.takeover")  # only its maker removes a lease, so no fresh one is removed
    try:
        takeover.mkdir()
    except FileExistsError:
        if _is_over(takeover):  # its maker died within
            with contextlib.suppress(OSError):
                takeover.rmdir()
        return False
    try:
        if not _is_over(lease):
            return False
        lease.unlink(missing_ok=True)
        return _make(lease, own)
    finally:
        takeover.rmdir()


def _make(lease: Path, own: str) -> bool:
    """Make the lease's file, with its holder in it; False if there is one."""
    temporary = lease.with_name(f".{own}.tmp")
    temporary.write_text(own, encoding="utf-8")
    try:
        os.link(temporary, lease)
    except FileExistsError:
        pass
    finally:
        made = temporary.stat().st_nlink == 2  # a lost answer of the server looks like an error
        temporary.unlink()
    return made


def _is_over(lease: Path) -> bool:
    """Whether nobody has touched the lease for STALE_S, by the clock of the file system; also if there is none."""
    now = lease.with_name(f".{unique()}.now")
    try:
        touched = lease.stat().st_mtime
        now.touch()
        age = now.stat().st_mtime - touched
    except FileNotFoundError:
        return True
    except PermissionError:  # another user's folder: nothing in it is going to be changed
        age = time.time() - touched
    finally:
        with contextlib.suppress(OSError):
            now.unlink(missing_ok=True)
    return age > STALE_S


def _leave(lease: Path, own: str) -> None:
    with contextlib.suppress(OSError):
        if lease.read_text(encoding="utf-8") == own:
            lease.unlink()


@contextlib.contextmanager
def _beating(lease: Path, own: str) -> Iterator[None]:
    """Within the block a thread touches the lease; it is left at the end."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            try:
                if lease.read_text(encoding="utf-8") != own:
                    raise FileNotFoundError
                os.utime(lease)
            except FileNotFoundError:
                _end(lease)
            except OSError:  # the server does not answer: the next beat tries again
                continue

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _leave(lease, own)


def _end(lease: Path) -> None:
    """End this process: another one has its lease."""
    words = json.dumps(str(lease))
    print(f"the lease {words} was lost: this process was suspended for more than {STALE_S:.0f} s", file=sys.stderr)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
