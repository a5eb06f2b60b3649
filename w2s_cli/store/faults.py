"""Named kill points for tests, which kill a worker between two steps and check that the next command continues.

* Without `W2S_FAULT` a point costs one dictionary look-up and does nothing.
* `W2S_FAULT=name` or `name:3` kills the process with SIGKILL at the first or third passage of that point.
  `name:3@1` does so in rank 1 only, of the processes that share a stage.
  `name:3=enospc` raises "no space left on device" instead, `name:3=nomemory` an error as of the CPU's allocator. `name:3=fill:FILE` fills
  the disk of FILE, and goes on.
* Before that, the point's name is appended to the file `W2S_FAULT_LOG`, so that a test can assert that the point was reached.
"""

import errno
import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

_passages: Counter[str] = Counter()  # of this process; used only while a fault is armed


def fault(name: str) -> None:
    """Kill the process, or raise the error, if `W2S_FAULT` names this point and passage."""
    wanted = os.environ.get("W2S_FAULT")
    if not wanted:
        return
    point, _, action = wanted.partition("=")
    point, _, rank = point.partition("@")
    if rank and rank != os.environ.get("RANK", "0"):
        return
    point, _, turn = point.partition(":")
    if point != name:
        return
    _passages[name] += 1
    if _passages[name] != int(turn or 1):
        return
    log = os.environ.get("W2S_FAULT_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
    if action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
    if action == "nomemory":
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    if action.startswith("fill:"):
        _fill(Path(action.removeprefix("fill:")))
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _fill(path: Path) -> None:
    """Write the file until its disk is full, to the last byte."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)) == 1 << 16:
            pass
