"""A Slurm of one node for the tests of this folder; without Slurm on the machine they are skipped, and say so."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, command, environment

CPUS = 4
STARTS_S = 60.0


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running Slurm; it is stopped at the end of the module."""
    with running(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@contextmanager
def running(folder: Path, **extra: str) -> Iterator[dict[str, str]]:
    """The environment of a Slurm that runs until the end of the block; without the programs the test is skipped."""
    told = folder / "environment"
    line = f'env > "{told}.tmp" && mv "{told}.tmp" "{told}" && cat'
    script = subprocess.Popen(
        [str(ROOT / "scripts/slurm_single_node"), "sh", "-c", line],
        env={**os.environ, "SLURM_NODE_CPUS": str(CPUS), **extra},
        stdin=subprocess.PIPE,  # its end, also by the death of this process, ends the Slurm
        stderr=(folder / "errors").open("w"),
    )
    end = time.monotonic() + STARTS_S
    while not told.exists() and script.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    if script.poll() == 3:
        pytest.skip((folder / "errors").read_text().strip())
    assert told.exists(), (folder / "errors").read_text()
    lines = dict(line.partition("=")[::2] for line in told.read_text().splitlines() if "=" in line)
    yield {"SLURM_CONF": lines["SLURM_CONF"], "PATH": lines["PATH"]}
    assert script.stdin is not None
    script.stdin.close()
    script.wait(timeout=60)


@pytest.fixture
def on_slurm(slurm: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `w2s …` in the test's folder, with that Slurm."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(arguments),
            cwd=tmp_path,
            env=environment(**slurm),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def ask(slurm: dict[str, str]) -> Callable[..., str]:
    """What a program of Slurm prints."""

    def run(*words: str) -> str:
        return subprocess.run(
            words, env={**os.environ, **slurm}, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    return run
