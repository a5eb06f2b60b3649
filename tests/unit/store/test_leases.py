"""Leases: one holder at a time, and none after the death of the last, whatever the clocks of the hosts say."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from w2s_cli.store import leases, locks
from w2s_cli.store.locks import LEASES

HOLD = """
import sys, time
from pathlib import Path
from w2s_cli.store import leases
leases.BEAT_S, leases.STALE_S = 0.1, 1.0
with leases.exclusive(Path(sys.argv[1]), wait=False) as taken:
    print(taken, flush=True)
    time.sleep(float(sys.argv[2]))
"""
COUNT = """
import sys, time
from pathlib import Path
from w2s_cli.store import leases
leases.BEAT_S, leases.STALE_S, leases.LOOK_S = 0.1, 1.0, 0.01
path, log = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(10):
    with leases.exclusive(path, wait=True):
        with log.open("a") as file:
            file.write("in "); file.flush(); time.sleep(0.002); file.write("out\\n")
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.1)
    monkeypatch.setattr(leases, "STALE_S", 1.0)
    monkeypatch.setattr(leases, "LOOK_S", 0.05)


def holder(path: Path, seconds: float = 60) -> "subprocess.Popen[str]":
    """Another process with the lease."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    return other


def taken(path: Path) -> bool:
    with leases.exclusive(path, wait=False) as mine:
        return mine


def test_a_lease_is_held_as_long_as_its_process_lives(tmp_path: Path) -> None:
    other = holder(tmp_path / "stage")
    time.sleep(1.5)  # longer than a lease without a beat
    assert leases.is_held(tmp_path / "stage")
    assert not taken(tmp_path / "stage")
    other.kill()
    other.wait()
    assert not taken(tmp_path / "stage"), "its death shows only when its beats are missing"
    time.sleep(1.1)
    assert taken(tmp_path / "stage")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_holder_that_was_suspended_ends_instead_of_writing(tmp_path: Path) -> None:
    other = holder(tmp_path / "stage")
    other.send_signal(signal.SIGSTOP)
    time.sleep(1.2)
    with leases.exclusive(tmp_path / "stage", wait=False) as mine:
        assert mine
        other.send_signal(signal.SIGCONT)
        assert other.wait(timeout=10) == -signal.SIGKILL
        assert "was lost" in (other.stderr.read() if other.stderr else "")
        assert leases.is_held(tmp_path / "stage")


def test_the_clock_of_a_host_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = holder(tmp_path / "stage")
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a host a hundred years ahead
    assert not taken(tmp_path / "stage")
    other.kill()
    other.wait()


def test_readers_keep_a_writer_out_and_a_dead_reader_does_not(tmp_path: Path) -> None:
    path = tmp_path / "stage"
    with leases.shared(path), leases.shared(path):
        assert not taken(path)
    assert taken(path)
    dead = tmp_path / f"stage{leases.READER}dead"
    dead.touch()
    os.utime(dead, (1, 1))
    assert taken(path)
    assert not dead.exists()


@pytest.mark.parametrize("left", ["nothing", "a dead lease", "a dead takeover"])
def test_many_processes_are_never_in_at_once(left: str, tmp_path: Path) -> None:
    path, log = tmp_path / "stage", tmp_path / "log"
    if left != "nothing":
        (tmp_path / "stage.lease").write_text("of a dead process", encoding="utf-8")
        os.utime(tmp_path / "stage.lease", (1, 1))
    if left == "a dead takeover":
        (tmp_path / "stage.lease.takeover").mkdir()
        os.utime(tmp_path / "stage.lease.takeover", (1, 1))
    command = [sys.executable, "-c", COUNT, str(path), str(log)]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert log.read_text(encoding="utf-8") == "in out\n" * 40


def test_a_store_with_leases_uses_no_lock_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks.fcntl, "flock", None)
    (tmp_path / LEASES).touch()
    with locks.exclusive(tmp_path / "stage", tmp_path, wait=False) as mine:
        assert mine
        assert locks.is_locked(tmp_path / "stage", tmp_path)
    with locks.shared(tmp_path / "stage", tmp_path):
        assert not locks.is_locked(tmp_path / "stage", tmp_path)


@pytest.mark.parametrize(
    ("mount", "fault"),
    [
        ("36 35 0:31 / {place} rw,relatime shared:1 - nfs4 server:/x rw,vers=4.2,local_lock=none", False),
        ("36 35 0:31 / {place} rw,relatime shared:1 - nfs server:/x rw,vers=3,nolock,local_lock=all", True),
        ("36 35 0:31 / {place} rw,relatime shared:1 master:2 - lustre server:/x rw,localflock", True),
        ("36 35 0:31 / {place} rw,relatime - fuse.sshfs host:/x rw", True),
        ("36 35 0:31 / {place} rw,relatime - ext4 /dev/sda1 rw", False),
    ],
)
def test_a_mount_whose_locks_no_other_machine_sees_is_known(
    mount: str, fault: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    lines = ["22 1 8:1 / / rw - ext4 /dev/root rw", mount.format(place=os.path.realpath(tmp_path))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(locks, "MOUNTS", table)
    assert (locks.fault_of(tmp_path) is not None) == fault
