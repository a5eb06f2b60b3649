"""Workers without the CPU seconds that the import of torch and transformers takes: forks of a process that has imported them.

* multiprocessing's fork server is that process. It has imported, and run nothing: no thread, no model, no freed memory.
* A warm worker is the real one, `w2s_cli.run.worker.main`, in a process of its own with the pipes, environment, signals and deaths of
  the real one. Its start alone differs. What a library reads from the environment when it is imported is not read again.
"""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import IO, Any

SERVER = multiprocessing.get_context("forkserver")
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


def processes(errors: IO[bytes]) -> SimpleNamespace:
    """The parts of `subprocess` that the launcher uses, with warm workers whose standard error is `errors`."""
    start = functools.partial(popen, errors=errors)
    return SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)


def popen(
    command: Sequence[str], *, stdin: int, stdout: int, env: dict[str, str], errors: IO[bytes]
) -> "Forked | subprocess.Popen[bytes]":
    """As `subprocess.Popen` of a worker, `python -m w2s_cli.run.worker --serve PID`, with pipes; its standard error is `errors`.

    A worker of several processes is the real one.
    """
    if command[2] == "w2s_cli.run.processes":
        return subprocess.Popen(list(command), stdin=stdin, stdout=stdout, stderr=errors, env=env)
    assert list(command[1:4]) == ["-m", "w2s_cli.run.worker", "--serve"]
    assert stdin == stdout == subprocess.PIPE
    jobs, to_jobs = SERVER.Pipe(duplex=False)
    from_events, events = SERVER.Pipe(duplex=False)
    ends = (jobs, events, Connection(os.dup(errors.fileno()), readable=False))
    process = SERVER.Process(target=_work, args=(ends, env, os.getcwd()))
    process.start()
    for end in ends:
        end.close()
    return Forked(process, _file(to_jobs, "wb"), _file(from_events, "rb"))


def _file(end: Connection, mode: str) -> IO[Any]:
    """A file in place of an end of a pipe."""
    descriptor = os.dup(end.fileno())
    end.close()
    return os.fdopen(descriptor, mode)


def _work(ends: Sequence[Connection], env: dict[str, str], folder: str) -> None:
    """The work of a fork. It dies with the server, and the server with the test's process."""
    from w2s_cli.run import worker

    for number, end in enumerate(ends):
        os.dup2(end.fileno(), number)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    os._exit(worker.main(["--serve", str(os.getppid())]))
