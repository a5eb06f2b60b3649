"""What a worker sets for its own process: its death with its parent, its memory, and where output goes.

* Freed memory is kept for the next micro-batch (`keep_memory`): its return to the kernel took a third of a narrow model's forward pass.
"""

import ctypes
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

# garbage collection took 0.5 of the 2.7 CPU seconds of the import of torch and transformers
RARELY = (100_000, 50, 100)
KEPT = 1 << 30  # bytes of freed memory that a worker keeps
LARGE = 1 << 25  # bytes of an array that is returned to the kernel at once; the largest limit of every glibc


class output_to:  # noqa: N801 - used like a function
    """Redirection of file descriptors 1 and 2 to the stage's log, so that the output of native libraries goes there too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.saved = (os.dup(1), os.dup(2))
        log = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in enumerate(self.saved, start=1):
            os.dup2(saved, descriptor)
            os.close(saved)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (Linux; elsewhere the end of standard input ends it)."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            os._exit(1)


def keep_memory() -> None:
    """Let the allocator keep up to `KEPT` freed bytes, and collect garbage rarely, for the rest of this process.

    Activations are some megabytes each and are freed after every layer. glibc returns such memory to the kernel, which
    zeroes it page by page at the next request. Another C library than glibc is not changed.
    """
    gc.set_threshold(*RARELY)
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with suppress(AttributeError, OSError, TypeError):  # a C library without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, KEPT)
        mallopt(mmap_threshold, LARGE)
