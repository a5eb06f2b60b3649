"""scripts/setup says which step it is at and how long that takes, and shows pip's own words only where a step fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.terminal import Terminal

PIP = """#!/usr/bin/env bash
# in place of the virtual environment's Python
echo "Collecting six==1.17.0 (from -r x)"; sleep "$(cat pause 2>/dev/null || echo 1.2)"; echo "noise of pip"
case "$*" in *editable*) [ ! -e fail ] || { echo "ERROR: no space"; exit 3; } ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a finished virtual environment whose pip takes a second."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP)
    python.chmod(0o755)
    return tmp_path


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "W2S_VENV"}


def setup(checkout: Path) -> subprocess.CompletedProcess[str]:
    """scripts/setup without a terminal."""
    return subprocess.run(
        ["scripts/setup"], cwd=checkout, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_log_has_a_line_for_the_begin_and_the_end_of_each_step(checkout: Path) -> None:
    done = setup(checkout)
    assert done.returncode == 0
    assert [line.rstrip("0123456789 s") for line in done.stderr.splitlines()] == [
        "2/3 torch (the largest download) …",
        "2/3 torch (the largest download): done in",
        "3/3 w2s and its other dependencies …",
        "3/3 w2s and its other dependencies: done in",
    ]
    again = setup(checkout)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_failed_step_shows_what_pip_said(checkout: Path) -> None:
    (checkout / "fail").touch()
    done = setup(checkout)
    assert done.returncode == 3
    assert "ERROR: no space" in done.stderr
    assert done.stderr.endswith("failed: 3/3 w2s and its other dependencies\n")
    (checkout / "fail").unlink()
    assert setup(checkout).returncode == 0  # the failure is not taken for an installation


@pytest.mark.slow
def test_a_window_shows_the_time_and_pips_latest_step_in_one_line(checkout: Path) -> None:
    (checkout / "pause").write_text("4")  # a busy machine may show no second between 1 and 1.2
    terminal = Terminal(["scripts/setup"], checkout, environment(), columns=80, rows=24)
    terminal.read_until("2/3 torch (the largest download) … 1 s  Collecting six==1.17.0")
    screen = terminal.read_until(None)
    assert terminal.code() == 0
    assert [line.partition(":")[0] for line in screen.split("\n") if line] == [
        "2/3 torch (the largest download)",
        "3/3 w2s and its other dependencies",
    ]


def test_ctrl_c_ends_the_installation_too(checkout: Path) -> None:
    (checkout / "pause").write_text("30")
    terminal = Terminal(["scripts/setup"], checkout, environment(), columns=80, rows=24)
    terminal.read_until("Collecting")
    terminal.type("\x03")
    terminal.read_until(None, seconds=10)
    assert terminal.code() == 130
    assert not list((checkout / ".venv").glob(".w2s-installed*"))
