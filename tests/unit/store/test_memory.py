"""Which errors mean that there is no memory, and what a process knows of its own."""

import errno
import os
from pathlib import Path

import pytest
import torch

from w2s_cli.errors import UserError
from w2s_cli.store import memory

NONE_LEFT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    torch.OutOfMemoryError(),
    MemoryError(),
    MemoryError("std::bad_alloc"),
    RuntimeError("std::bad_alloc"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."
    ),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a memory object"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
]
OTHER = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    UserError("not enough memory for an update: std::bad_alloc"),
    ValueError("out of memory"),
]


@pytest.mark.parametrize("error", NONE_LEFT, ids=repr)
def test_an_error_of_any_library_that_means_no_memory_is_recognised(error: Exception) -> None:
    assert memory.means_no_memory(error)


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not memory.means_no_memory(error)


def test_the_real_allocators_error_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert memory.means_no_memory(caught.value)


def test_where_the_kernel_keeps_the_old_peak_a_lower_one_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refused)
    unknown = memory.restart_peak()
    assert unknown > 20
    assert memory.peak_above(unknown) is None
    assert memory.peak_above(unknown - 1) in (unknown, unknown + 1)


def test_without_proc_the_limit_is_unknown_and_the_peak_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_kernel", lambda file, name: None)
    assert memory.most_bytes() is None
    assert (memory.peak_above(0) or 0) > 20


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the limits are read from Linux's /proc")
def test_the_limit_is_at_least_what_the_process_has() -> None:
    most = memory.most_bytes()
    assert most is not None
    assert most >= int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") * 0.9
