"""Output that cannot be written stops no run and passes for no success: closed pipes, full disks, lost terminals, closed streams."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import command, environment
from w2s_cli.run.launchers.local import LocalWorker

Run = Callable[..., subprocess.CompletedProcess[str]]


def shell(folder: Path, line: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `w2s` is the command with `words`; a pipe has the exit code of its first failed command."""
    line = f"set -o pipefail; {line}".replace("w2s", shlex.join(command(words)))
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(), capture_output=True, text=True, timeout=240
    )


def run_of(folder: Path) -> str:
    """When the comparison of the run was made: the id in its record. The run's folder is complete."""
    (run,) = (folder / "outputs" / "runs").glob("*/*")
    assert {path.name for path in run.iterdir()} == {"config.yaml", "plan.json", "results.json", "stages"}
    (record,) = (folder / "outputs" / "stages" / "evaluate").glob("*/record.json")
    return str(json.loads(record.read_text())["run"])


@pytest.mark.slow
def test_a_training_whose_reader_has_gone_is_trained_to_its_end(tmp_path: Path, tiny: list[str]) -> None:
    done = shell(tmp_path, "w2s | head -1", "train", *tiny)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert run_of(tmp_path)


@pytest.mark.parametrize("line", ["w2s 2>&1 | true", "w2s >/dev/full 2>&1", "w2s >&- 2>&- <&-"])
def test_no_kind_of_lost_output_stops_a_stage(tmp_path: Path, ran: list[str], line: str) -> None:
    before = run_of(tmp_path)
    done = shell(tmp_path, line, "train", *ran, "--force", "pgr")
    assert (done.returncode, done.stderr) == (0, "")
    assert run_of(tmp_path) != before


def test_a_lost_output_does_not_hide_a_failure(tmp_path: Path, ran: list[str]) -> None:
    assert shell(tmp_path, "w2s | true", "train", *ran, "strong.lr=fast").returncode == 2
    assert shell(tmp_path, "w2s 2>/dev/full", "train", *ran, "strong.lr=fast").returncode == 2
    assert shell(tmp_path, "w2s 2>&-", "evaluate", *ran, "seed=7").returncode == 2


def test_a_lost_terminal_does_not_stop_the_live_view(tmp_path: Path, ran: list[str]) -> None:
    before = run_of(tmp_path)
    ours, theirs = os.openpty()
    words = command(["train", *ran, "--force", "pgr"])
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment(TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"0/1" not in seen:  # of the bar over all stages
        seen += os.read(ours, 4096)
    os.close(ours)  # every later write fails with EIO
    assert process.wait(timeout=240) == 0
    assert run_of(tmp_path) != before


def test_a_command_that_shows_ends_with_its_output(tmp_path: Path, ran: list[str]) -> None:
    for line in ("w2s | true", "w2s >&-"):
        done = shell(tmp_path, line, "ls")
        assert (done.returncode, done.stderr) == (0, ""), line
    for words in (["ls"], ["plan", *ran]):
        done = shell(tmp_path, "w2s >/dev/full", *words)
        assert (done.returncode, done.stderr) == (
            1,
            "w2s: standard output cannot be written: No space left on device.\n",
        )


def test_a_removal_whose_reader_has_gone_removes_all_that_it_listed(tmp_path: Path, ran: list[str]) -> None:
    shutil.rmtree(tmp_path / "outputs" / "runs")
    assert shell(tmp_path, "w2s >/dev/full", "gc", "--yes").returncode == 0
    assert not list((tmp_path / "outputs" / "stages").glob("*/*-*"))


def test_a_worker_that_died_while_it_was_free_is_reported_by_its_events(tmp_path: Path) -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    popen.wait()
    worker = LocalWorker(popen, 1)
    worker.give("key", tmp_path, None)
    assert worker.events() is None
    assert worker.key == "key"
    popen.communicate()
