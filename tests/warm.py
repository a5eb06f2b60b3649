"""Workers without the CPU seconds that the import of torch and transformers takes: forks of a process that has imported them.

* multiprocessing's fork server is that process. It has imported, and run nothing: no thread, no model, no freed memory.
* A warm worker is the real one, `w2s_cli.run.worker.main`, in a process of its own with the pipes, environment, signals and deaths of
  the real one. Its start alone differs. What a library reads from the environment when it is imported is not read again.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import IO, Any

SERVER = multiprocessing.get_context("forkserver")
# what a training with the tiny models imports
SERVER.set_forkserver_preload(["tests.warm_modules"])


@dataclass
class Forked:
    """The members of `subprocess.Popen` that the launcher uses."""

    process: BaseProcess
    stdin: IO[bytes]
    stdout: IO[bytes]

    def send_signal(self, number: signal.Signals) -> None:
        """As Popen's: nothing if the process has ended."""
        if self.process.is_alive() and self.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; −n: signal n."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self.process.exitcode


def popen(command: Sequence[str], *, stdin: int, stdout: int, env: dict[str, str]) -> Forked:
    """As `subprocess.Popen` of a worker, `python -m w2s_cli.run.worker --serve PID`, with pipes."""
    assert list(command[1:4]) == ["-m", "w2s_cli.run.worker", "--serve"]
    assert stdin == stdout == subprocess.PIPE
    read_jobs, write_jobs = os.pipe()
    read_events, write_events = os.pipe()
    process = SERVER.Process(target=_Work(read_jobs, write_events, env, os.getcwd()))
    process.start()
    os.close(read_jobs)
    os.close(write_events)
    return Forked(process, os.fdopen(write_jobs, "wb"), os.fdopen(read_events, "rb"))


class _Work:
    """The work of a fork; the descriptors of its pipes are duplicated on the way through the server."""

    def __init__(self, jobs: int, events: int, env: dict[str, str], folder: str) -> None:
        self.jobs, self.events, self.env, self.folder = jobs, events, env, folder

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "jobs": DupFd(self.jobs), "events": DupFd(self.events)}

    def __call__(self) -> None:
        from w2s_cli.run import worker

        os.dup2(self.jobs.detach(), 0)  # type: ignore[attr-defined] # a DupFd now
        os.dup2(self.events.detach(), 1)  # type: ignore[attr-defined]
        sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os._exit(
            worker.main(["--serve", str(os.getppid())])
        )  # dies with the server, which dies with the test's process
