"""`scripts/slurm_single_node` stops what it started, however it ends: its daemons, the jobs, and its folder, which is private."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.test_slurm import until
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # two minutes
SCRIPT = str(ROOT / "scripts/slurm_single_node")
DAEMONS = ("munged", "slurmctld", "slurmd")
ACCOUNTS = ("slurmdbd", "mariadbd")
# a job of two processes, which tells that it runs; meanwhile the command waits
WITH_JOB = """
sbatch --quiet --output=/dev/null --wrap="sleep 1000 & sleep 1000 & sleep 1; touch $TMPDIR/up; wait"
until [ -e "$TMPDIR/up" ]; do sleep 0.1; done
exec sleep "$0"
"""
COUNTING = """
import signal, time
read = input("? ")
got = []
signal.signal(signal.SIGINT, lambda number, _: got.append(number))
print(f"read {read}", flush=True)
while not got: time.sleep(0.1)
time.sleep(1)
print(f"Ctrl-C came {len(got)} times", flush=True)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """The folder of temporary files of the script; a socket's path must be short."""
    folder = Path(tempfile.mkdtemp(prefix="w2s-"))
    yield folder
    for pid in left_of(folder):  # of a script that does not keep its promise
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def environment_of(place: Path, **extra: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(place), **extra}


def started(place: Path, *words: str, **extra: str) -> "subprocess.Popen[str]":
    """The script with a command, in a group of its own and without a terminal."""
    return subprocess.Popen(
        [SCRIPT, *words],
        env=environment_of(place, **extra),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_of(place: Path) -> dict[int, str]:
    """Processes that were started with the folder in their environment, by pid: daemons, jobs and the command."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"={place}".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "comm").read_text().strip()
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def up(script: "subprocess.Popen[str]", place: Path) -> None:
    """Wait until the command has its job."""
    until(lambda: (place / "up").exists() or script.poll() is not None, 90)
    if script.poll() == 3:
        pytest.skip(script.communicate()[1].strip())
    assert script.poll() is None, script.communicate()[1]


def assert_stopped(place: Path, pids: dict[int, str]) -> None:
    """Nothing of it is left."""
    assert {pid: name for pid, name in pids.items() if Path(f"/proc/{pid}").exists()} == {}
    assert left_of(place) == {}
    assert list(place.glob("slurm-*")) == []


ENDS = {  # the signal, whether it goes to the whole group, and the exit code
    "end": (None, False, 0),
    "SIGTERM": (signal.SIGTERM, False, 143),
    "SIGINT": (signal.SIGINT, False, 130),
    "group": (signal.SIGTERM, True, 143),
}


@pytest.mark.parametrize(
    ("end", "accounts"),
    [(end, accounts) for end in ENDS for accounts in (False, True) if not (accounts and end == "group")],
)
def test_nothing_is_left_when_it_ends_or_is_told_to(place: Path, end: str, accounts: bool) -> None:
    send, group, code = ENDS[end]
    extra = {"SLURM_ACCOUNTING": "1"} if accounts else {}
    script = started(place, "sh", "-c", WITH_JOB, "3" if send is None else "1000", **extra)
    up(script, place)
    until(lambda: list(left_of(place).values()).count("sleep") == 3, 2)  # of the job, and the command
    (folder,) = place.glob("slurm-*")
    daemons = {int((folder / f"{name}.pid").read_text()): name for name in (*DAEMONS, *(ACCOUNTS if accounts else ()))}
    pids = left_of(place)
    assert daemons.items() <= pids.items()
    if send is not None:
        (os.killpg if group else os.kill)(script.pid, send)
    _, errors = script.communicate(timeout=60)
    assert script.returncode == code, errors
    assert_stopped(place, pids)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_nothing_is_left_when_it_is_told_to_end_while_a_daemon_starts(place: Path, daemon: str) -> None:
    search = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if (real := shutil.which(daemon, path=search)) is None:
        pytest.skip(f"{daemon} is missing")
    stub = place / "bin" / daemon
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\n{real} "$@"\nkill -TERM $PPID\n', encoding="utf-8")
    stub.chmod(0o755)
    began = time.monotonic()
    script = started(place, "sleep", "1000", PATH=f"{stub.parent}:{search}")
    _, errors = script.communicate(timeout=120)
    assert script.returncode == 143, errors
    assert time.monotonic() - began < 30, "it asked a Slurm that is not there"
    assert_stopped(place, {})


def test_at_a_terminal_the_command_reads_and_gets_ctrl_c_once(place: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(SCRIPT, [SCRIPT, sys.executable, "-c", COUNTING], environment_of(place))
    shown = ""

    def reads(pattern: str) -> str:
        nonlocal shown
        while not (match := re.search(pattern, shown)):
            try:
                more = os.read(terminal, 4096).decode()
            except OSError:  # the other side is closed
                more = ""
            assert more, shown
            shown += more
        return match[0]

    if "is missing" in reads(r"\? |is missing.*"):
        pytest.skip(shown)
    os.write(terminal, b"words\n")
    reads("read words")
    os.write(terminal, b"\x03")
    assert reads(r"Ctrl-C came \d+ times") == "Ctrl-C came 1 times"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)
    assert_stopped(place, {})
