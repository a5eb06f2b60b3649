"""A command and its workers as forks of a process that has imported their modules: a start costs milliseconds, and each can be killed.

* The command is a fork of the server of `tests.warm`, and leads a session of its own. Its workers are forks of the command, so that they
  die with it by the kernel's signal of a parent's death, as the real ones do.
* Both run the code of the real ones from `dispatch` and `worker.main` on. What a library reads from the environment when it is imported
  is not read again.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

from tests.warm import SERVER

SERVER.set_forkserver_preload(["tests.warm_modules", "tests.command_modules"])  # of a server that has not begun


def start(
    words: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    output: Path,
    before: Callable[[], object] | None = None,
) -> BaseProcess:
    """`w2s WORD…` in `folder`; what it prints is added to the file `output`. Its exit code is the process's.

    `before` is called in the process first: it may limit it, or give it to another user.
    """
    process = SERVER.Process(target=_command, args=(list(words), str(folder), environment, str(output), before))
    process.start()
    return process


def pid_of(process: BaseProcess) -> int:
    """The process id; never 0, which names the whole group of this process."""
    assert process.pid
    return process.pid


def workers(pid: int) -> list[int]:
    """The process ids of a command's workers."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(one) for one in listed]


def run(
    words: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    before: Callable[[], object] | None = None,
    within_s: float = 600.0,
) -> subprocess.CompletedProcess[str]:
    """As `start`, to its end; everything that it printed is `stdout`.

    Raises:
        subprocess.TimeoutExpired: it does not end. It is killed.
    """
    with tempfile.NamedTemporaryFile(suffix=".txt") as output:
        process = start(words, folder, environment, Path(output.name), before)
        process.join(within_s)
        if process.exitcode is None:
            os.killpg(pid_of(process), signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), within_s, Path(output.name).read_bytes())
        printed = Path(output.name).read_text(encoding="utf-8", errors="replace")
    return subprocess.CompletedProcess(list(words), process.exitcode, printed, "")


def _command(
    words: list[str], folder: str, environment: dict[str, str], output: str, before: Callable[[], object] | None
) -> None:
    """The whole life of the command's process."""
    os.setsid()
    _streams(os.open(os.devnull, os.O_RDONLY), *2 * [os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)])
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if before is not None:
        before()
    sys.argv = ["w2s"]
    from w2s_cli.cli import dispatch
    from w2s_cli.run.launchers import local
    from w2s_cli.store import files, holds

    holds.OWN = files.unique()  # of this process, and not of the server that has imported it
    local.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=_Forked, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    code = 70
    try:
        code = dispatch(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _streams(*descriptors: int) -> None:
    """Make these the standard streams of the process."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(0, closefd=False),
        os.fdopen(1, "w", buffering=1, closefd=False),
        os.fdopen(2, "w", buffering=1, closefd=False),
    )


class _Forked:
    """The members of `subprocess.Popen` that the launcher uses, for a fork of this process that is a worker."""

    def __init__(self, command: Sequence[str], *, stdin: int, stdout: int, env: dict[str, str]) -> None:
        assert list(command[1:4]) == ["-m", "w2s_cli.run.worker", "--serve"]
        assert stdin == stdout == subprocess.PIPE
        jobs, to_jobs = os.pipe()
        from_events, events = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            for mine in (to_jobs, from_events):
                os.close(mine)
            self._work([jobs, events, 2], env, parent)
        for its in (jobs, events):
            os.close(its)
        self.stdin, self.stdout = os.fdopen(to_jobs, "wb"), os.fdopen(from_events, "rb")
        self.returncode: int | None = None

    def _work(self, ends: list[int], env: dict[str, str], parent: int) -> None:
        from w2s_cli.run import worker

        try:
            _streams(*ends)
            os.environ.clear()
            os.environ.update(env)
            code = worker.main(["--serve", str(parent)])
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 70
        os._exit(code)

    def send_signal(self, number: int) -> None:
        """As Popen's: nothing if the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(9)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; −n: signal n."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            else:
                time.sleep(0.01)
        return self.returncode
