"""Workers as child processes of this machine, with jobs on their standard input and events on their standard output.

* The wait policy of threads is in the environment from the start, because it is read when torch loads. A worker begins with one
  thread, and each stage with a model sets its own number (training/device.py).
* A worker of several processes is started by accelerate (`run/processes.py`), and is one child like any other.
* A worker dies with its parent (`--serve PID`), so a killed command leaves no worker behind.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.run.devices import used
from w2s_cli.run.ranks import LAUNCHED
from w2s_cli.run.resources import most_processes
from w2s_cli.run.workplace import worker_environment, worker_module

HERE = True
END_S = 10  # a worker without a job is killed after this many seconds


@dataclass
class LocalWorker:
    """A worker as a child process."""

    popen: subprocess.Popen[bytes]
    processes: int = 1
    key: str | None = None  # key of its stage; None: free
    buffer: bytes = b""  # beginning of an incomplete event
    single: bool = False
    words: str = ""  # its output goes to the stage's log

    def fileno(self) -> int:
        """The file descriptor of its standard output."""
        assert self.popen.stdout is not None
        return self.popen.stdout.fileno()

    def give(self, key: str, folder: Path, redo: str | None) -> None:
        """Write a job to the worker's standard input."""
        assert self.popen.stdin is not None
        self.key = key
        with contextlib.suppress(BrokenPipeError):  # it died while it was free: the end of its events says so
            self.popen.stdin.write((json.dumps({"folder": str(folder), "redo": redo}) + "\n").encode())
            self.popen.stdin.flush()

    def events(self) -> list[dict[str, Any]] | None:
        """The events since the last call; None: the worker has ended."""
        chunk = os.read(self.fileno(), 65536)
        if not chunk:
            return None
        *lines, self.buffer = (self.buffer + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def look(self) -> list[dict[str, Any]]:
        """It sends all its events."""
        return []

    def stop(self, *, now: bool) -> None:
        """SIGTERM saves and stops the stage; SIGKILL does not wait for it."""
        self.popen.send_signal(signal.SIGKILL if now else signal.SIGTERM)

    def code(self) -> int:
        """The exit code of the process."""
        return self.popen.wait()

    def end(self) -> None:
        """Close the standard input, which ends the worker."""
        assert self.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()
        try:
            self.popen.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def check(settings: Mapping[str, Any]) -> None:
    """Refuse (UserError) more processes of a stage than this machine has GPUs, unless it has none."""
    names, (setting, most) = used(settings), most_processes(settings)
    if names and len(names) < most:
        raise UserError(
            f"{setting}={most} need a GPU each, and there are {len(names)} here: use as many processes as GPUs, "
            "or launcher.device=cpu."
        )


def start(settings: Mapping[str, Any], processes: int) -> LocalWorker:
    """A new worker of so many processes."""
    # a command may run in a process that torch's launcher has started
    inherited = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    command = [*worker_module(processes), "--serve", str(os.getpid())]
    popen = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**inherited, **worker_environment()}
    )
    return LocalWorker(popen, processes)
