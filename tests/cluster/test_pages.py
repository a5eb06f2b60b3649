"""The commands of the pages with `launcher=slurm` that need no hub, in their order on a real Slurm of one node."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.doc_pages import DOCS, command_lines, shell_lines

pytestmark = pytest.mark.slow
PAGE = DOCS / "recipes" / "slurm.md"
SECONDS = 300


def here() -> list[list[str]]:
    """The commands of the recipe that a test can run: a debug run, and its status."""
    return [words for words in command_lines(PAGE) if "debug=tiny" in words or words[0] == "status"]


def test_the_commands_of_the_recipe_submit_come_back_and_end_in_the_table(
    on_slurm: Callable[..., subprocess.Popen[str]],
) -> None:
    detached, status, again = here()[:3]
    printed = []
    for words in (detached, status, again, status):
        running = on_slurm(*words)
        out, errors = running.communicate(timeout=SECONDS)
        assert running.returncode == 0, f"{words}\n{out}\n{errors}"
        printed.append(out)
    assert "22 stages submitted to slurm in 12 submissions" in printed[0]
    assert "slurm job" in printed[1]
    assert "agreement with the supervisor" in printed[2]
    assert printed[3].rstrip().endswith("22 done")


@pytest.mark.faults  # a Slurm of its own
def test_the_line_with_a_private_slurm_runs(tmp_path: Path) -> None:
    (line,) = (line for line in shell_lines(PAGE) if "slurm_single_node" in line)
    script, _, *words = shlex.split(line)
    done = subprocess.run(
        [str(ROOT / script), sys.executable, "-m", "w2s_cli", *words],
        cwd=tmp_path,
        env=environment(PATH=os.environ["PATH"]),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert "22 stages submitted to slurm" in done.stdout
    assert "agreement with the supervisor" in done.stdout
