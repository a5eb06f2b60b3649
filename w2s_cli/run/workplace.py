"""The environment and the command line of a worker, wherever it runs."""

import os
import shlex
import sys
from pathlib import Path

from w2s_cli.paths import PACKAGE
from w2s_cli.store.files import write_bytes

WORKER, PROCESSES = "w2s_cli.run.worker", "w2s_cli.run.processes"
EXIT_STOPPED, EXIT_AGAIN = 75, 76  # of a worker whose stage stopped, or goes on in a new process
SCRIPT = "worker.sh"
STOP = "stop"  # a file in the stage's folder, which asks a worker on another machine to save and stop


def worker_environment() -> dict[str, str]:
    """Variables of a worker beside those of its command.

    The threads' wait policy is set from the start, because it is read when torch loads. A worker begins with one thread, and each stage
    with a model sets its own number (training/device.py).

    torch aligns large arrays to pages where it asks for huge ones. glibc then gives a freed place to the next array of the same size; at
    64 bytes it does not, and a training with gradient checkpointing took 1.7 times its memory.
    """
    return {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # spinning threads cost 24 times on a busy machine
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "1"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(p for p in (str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")) if p),
    }


def worker_module(processes: int) -> list[str]:
    """The words that start a worker of so many processes, before its own words."""
    return [sys.executable, "-m", *([WORKER] if processes == 1 else [PROCESSES, str(processes)])]


def worker_command(folder: Path, redo: str | None, processes: int) -> list[str]:
    """The command that runs one stage in a worker of its own, and waits while another process has the stage."""
    again = [] if redo is None else ["--redo", redo]
    return [*worker_module(processes), "--wait", *again, str(folder)]


def write_script(folder: Path, redo: str | None, processes: int) -> Path:
    """Write the same command, with its environment, as a script in the stage's folder; returns its path.

    A path needs no quotes where the line of a cluster passes through two shells (ssh) or wants a file (qsub).
    """
    path = folder / SCRIPT
    words = [
        "env",
        *(f"{name}={value}" for name, value in worker_environment().items()),
        *worker_command(folder, redo, processes),
    ]
    write_bytes(path, f"#!/bin/sh\nexec {shlex.join(words)}\n".encode())
    path.chmod(path.stat().st_mode | 0o111)
    return path
