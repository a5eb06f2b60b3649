"""Locks of a store: those of the kernel, which end with their process, or leases (`leases.py`) where the file system has none that work.

* A store has leases if the file `.leases` lies in its root: all its commands use the same kind. `launcher.claims=lease` makes the file.
* Whether the kernel's locks work is tried in the folder itself, and read from the mount: some network mounts take every lock and tell no
  other machine of it.
* Exclusive: a writer. Shared: a long reader.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from w2s_cli.store import leases

MOUNTS = Path("/proc/self/mountinfo")
LEASES = ".leases"  # in the root of a store
ONLY_HERE = {  # type of a file system → options of a mount whose locks no other machine sees; (): always
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "nfs4": ("nolock", "local_lock=all", "local_lock=flock"),
    "lustre": ("localflock",),
    "fuse.sshfs": (),
    "fuse.rclone": (),
    "fuse.gcsfuse": (),
    "fuse.s3fs": (),
    "fuse.mount-s3": (),
}


def has_leases(root: Path) -> bool:
    """Whether the store at `root` has leases in place of locks."""
    return (root / LEASES).exists()


@contextlib.contextmanager
def exclusive(path: Path, root: Path, *, wait: bool) -> Iterator[bool]:
    """Hold `path`, a file of the store at `root`, which is made if it is missing; yields whether this process has it."""
    if has_leases(root):
        with leases.exclusive(path, wait=wait) as taken:
            yield taken
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def shared(path: Path, root: Path) -> Iterator[None]:
    """Hold `path` beside other readers.

    Raises:
        FileNotFoundError, PermissionError: it cannot be opened.
    """
    if has_leases(root):
        with leases.shared(path):
            yield
        return
    with path.open("r") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_locked(path: Path, root: Path) -> bool:
    """Whether a process holds `path` exclusively.

    Raises:
        PermissionError: the file cannot be opened.
    """
    if has_leases(root):
        return leases.is_held(path)
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def fault_of(folder: Path) -> str | None:
    """Why the kernel's locks do not protect a folder; None if they do, as far as one machine can tell.

    Raises:
        OSError: the folder cannot be written.
    """
    kind, options = _mount(folder)
    if kind in ONLY_HERE:
        given = [option for option in ONLY_HERE[kind] if option in options]
        if given or not ONLY_HERE[kind]:
            return f"it is mounted by {kind}{f' with {given[0]}' if given else ''}, whose locks no other machine sees"
    return None if _work(folder) else "two processes can have one lock there"


def _work(folder: Path) -> bool:
    """Whether a second lock on one file is refused."""
    probe = folder / f".lock-probe-{os.getpid()}"
    first = probe.open("x")
    try:
        with first, probe.open("r") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _mount(folder: Path) -> tuple[str, list[str]]:
    """Type and options of the mount of a folder, on Linux; ("", []) elsewhere."""
    place, best, mount = os.path.realpath(folder), -1, ("", list[str]())
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return mount
    for line in lines:  # id parent major:minor root POINT options … - TYPE source OPTIONS (proc_pid_mountinfo(5))
        fields = line.split(" ")
        point = fields[4].encode().decode("unicode_escape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best and "-" in fields:
            at = fields.index("-")
            best = len(point)
            mount = (fields[at + 1], [*fields[5].split(","), *fields[at + 3].split(",")])
    return mount
