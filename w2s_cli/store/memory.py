"""Memory of this process: its peak, the most that it may have, and the errors that mean that it could have no more.

* The figures are Linux's, from /proc. Elsewhere the limit is unknown, and so is the peak of a part of the process's life that stays
  below the peak before.
* Workers and trainings both need it, so it lies beside `context.py`.
* Libraries have no common error: CUDA's has a type; those of the CPU's allocator, of oneDNN, of C++ and of the kernel have texts.
* oneDNN keeps a failure. It compiles a kernel for each shape, and a kernel without memory for its code makes every later compilation of
  the same thread fail, however much memory is free then (oneDNN 3.12 of torch 2.13: the assembler keeps its first error).
"""

import ctypes
import gc
import resource
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

MUCH = 1 << 30  # bytes; in a smaller process a collection, which takes 0.2 CPU s, costs more than it gives
_PRIMITIVE = "could not create a primitive"  # oneDNN, for a kernel's code or its scratch space
_TEXTS = (
    "out of memory",  # CUDA, MPS
    "DefaultCPUAllocator",
    _PRIMITIVE,
    "could not create a memory",
    "bad_alloc",
    "annot allocate memory",  # the kernel's ENOMEM
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def means_no_memory(error: BaseException | str) -> bool:
    """Whether the error of a library, or the end of a log, says that memory could not be had."""
    if isinstance(error, str):
        return any(text in error for text in _TEXTS)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and means_no_memory(str(error))


def stays(error: BaseException) -> bool:
    """Whether the lack of memory may go on in this process although memory is free again."""
    return isinstance(error, RuntimeError) and _PRIMITIVE in str(error)


def give_back() -> None:
    """Free what only circles of references hold, and return free memory to the kernel, for other shapes and other processes."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def give_back_much() -> None:
    """Between two models: `give_back` if this process has more than `MUCH`.

    An exception that a library keeps from its import holds the frames of all callers, and with them a model that nobody uses any more. And
    glibc gives one thread nothing of what another one freed.
    """
    if (_own() or 0) > MUCH:
        give_back()


def restart_peak() -> int:
    """Begin a new peak at the present memory; returns the MiB up to which it stays unknown: 0 where the kernel forgets the old one."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # no Linux, or a container that refuses
        return _peak()
    return 0


def peak_above(unknown: int) -> int | None:
    """The peak in MiB since `restart_peak` returned `unknown`; None if it is not above that."""
    peak = _peak()
    return peak if peak > unknown else None


def most_bytes() -> int | None:
    """The bytes that this process may have: its own and what is free, within its address space and control group; None if unknown."""
    own, free = _own(), _kernel("/proc/meminfo", "MemAvailable")
    if own is None or free is None:
        return None
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        free = min(free, max(0, space - (_kernel("/proc/self/status", "VmSize") or 0)))
    return min([own + free, *_limits()])


def machine_bytes() -> int | None:
    """The bytes of the machine, or of this process's control groups; None if unknown. Unlike free memory the figure is always the same."""
    total = _kernel("/proc/meminfo", "MemTotal")
    return None if total is None else min([total, *_limits()])


def free_bytes() -> int | None:
    """The bytes that further processes of this one's control group may have; None if unknown."""
    most, own = most_bytes(), _own()
    return None if most is None or own is None else most - own


def cpu_quota() -> float | None:
    """The cores that this process's control groups allow it; None without a limit."""
    quotas = []
    for folder in _control_groups(("", "cpu", "cpu,cpuacct")):
        with suppress(OSError, ValueError):  # "max"
            if (folder / "cpu.max").exists():
                most, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                most, period = (
                    (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
                )
            if int(most) > 0:  # -1: no limit
                quotas.append(int(most) / int(period))
    return min(quotas, default=None)


def _limits() -> Iterator[int]:
    """The limits in bytes of this process's control groups, those around them too."""
    for folder in _control_groups(("", "memory")):
        for file in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max"; a group that a container does not show
                yield int((folder / file).read_text(encoding="ascii"))


def _control_groups(controllers: Collection[str]) -> Iterator[Path]:
    """The folders of this process's control groups of these controllers ("": version 2), innermost first, each with those around it."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controller, name = line.split(":", 2)
            if controller not in controllers:
                continue
            root = Path("/sys/fs/cgroup", controller)
            inner = root / name.lstrip("/")
            for folder in (inner, *inner.parents):
                yield folder
                if folder == root:
                    break


def _own() -> int | None:
    """The bytes of this process; None if unknown."""
    return _kernel("/proc/self/status", "VmRSS")


def _peak() -> int:
    """The peak in MiB."""
    peak = _kernel("/proc/self/status", "VmHWM")
    if peak is None:
        unit = 1 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak >> 20


def _kernel(file: str, name: str) -> int | None:
    """A figure of a file of /proc, in bytes; None without it."""
    with suppress(OSError):
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
    return None
