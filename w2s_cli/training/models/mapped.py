"""Pages of files that transformers has mapped into memory, and that nobody needs here any more.

A weight in the type of its file is a part of the mapped file. Its pages take memory of this process from the time that they are read until
the last weight of the file is gone. Linux takes them back on request; whoever reads them again gets them from the file.
"""

import ctypes
import mmap
import sys
from contextlib import suppress
from pathlib import Path

from torch import Tensor


def let_go(read: Tensor, in_files: dict[int, bool] | None = None) -> None:
    """Take the pages that are only this tensor's out of this process, if it lies in a file and was not written to.

    `in_files`: address of a tensor's storage → whether it lies in a file, for many tensors of few files.
    """
    if sys.platform != "linux" or read.device.type != "cpu":
        return
    start = read.untyped_storage().data_ptr()
    if in_files is None:
        in_files = {}
    if start not in in_files:
        in_files[start] = _in_a_file(start)
    if not in_files[start]:
        return
    page = mmap.PAGESIZE
    first = -(-read.data_ptr() // page) * page
    size = (read.data_ptr() + read.nbytes) // page * page - first
    if size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


def _in_a_file(address: int) -> bool:
    """Whether the memory at `address` is a mapped file."""
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            span, _, _, _, inode, *_ = line.split(maxsplit=5)
            first, end = (int(edge, 16) for edge in span.split("-"))
            if first <= address < end:
                return inode != "0"
    return False
