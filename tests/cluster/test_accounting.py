"""`launcher=slurm` on a Slurm with accounting, which forgets its old jobs after seconds, and on the other one: a job that dies is told."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from tests.cluster.conftest import running
from tests.cluster.test_slurm import (  # the same promises, with accounting
    ON_SLURM,
    SMALL,
    end,
    test_ctrl_c_saves_running_jobs_and_cancels_the_others,  # noqa: F401
    test_jobs_outlive_their_command_and_hold_their_stages,  # noqa: F401
    training,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.faults]  # four minutes


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running(tmp_path_factory.mktemp("slurm"), SLURM_ACCOUNTING="1") as found:
        yield found


def test_the_end_of_a_job_that_slurm_has_forgotten_is_told_from_its_accounts(
    on_slurm: Callable[..., Popen[str]], ask: Callable[..., str], tmp_path: Path
) -> None:
    command = on_slurm("label", *SMALL, *ON_SLURM, "weak.epochs=2000")
    folder = until(lambda: training(tmp_path / "out", "weak"))
    (job,) = re.findall(r"^(\S+) w2s-weak", ask("squeue", "--noheader", "--states=R", "--format=%i %j"), re.MULTILINE)
    ask("scancel", "--full", "--signal=KILL", job)  # as when a node dies: nobody is left to write what happened
    _, errors = end(command, 1)
    assert re.search(rf"its job {job} ended without a result \((CANCELLED|FAILED|NODE_FAIL)", errors), errors
    assert ask("sacct", "--noheader", "--format=State", f"--jobs={job}").strip()
    end(on_slurm("label", *SMALL, *ON_SLURM, "weak.epochs=2000"), 0)
    assert (folder / "record.json").exists()
