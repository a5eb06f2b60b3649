"""The jobs of a batch system, which a test plays: jobs that the system has lost, and jobs that two commands wait for."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment
from w2s_cli.run import batch
from w2s_cli.run.arrays import Array
from w2s_cli.run.launchers import Submitted, slurm

Run = Callable[..., subprocess.CompletedProcess[str]]


class Losing:
    """A batch system that takes jobs and forgets them; each job of a stage with `printed` in its name leaves a log."""

    def __init__(self, folder: Path, printed: str) -> None:
        self.folder, self.printed = folder, printed

    def submit(self, made: Sequence[Array], stages: Mapping[str, Submitted]) -> Iterator[tuple[str, str, Path]]:
        self.folder.mkdir(parents=True)
        for number, key in enumerate(key for array in made for key in array.stages):
            log = self.folder / f"{number}_log.err"
            if self.printed in stages[key].name:
                log.write_text("slurmstepd: error: *** JOB CANCELLED DUE TO NODE FAILURE ***")
            yield key, str(number), log

    def states(self, jobs: Collection[str]) -> dict[str, str] | None:
        return {}

    def stop(self, jobs: Collection[str], *, now: bool) -> None:
        """They are gone."""

    def end_of(self, job: str) -> str:
        return "NODE_FAIL" if job == "0" else ""


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("w2s", "ended without a result (NODE_FAIL); what it printed is in"),
        ("nothing", "ended without a result (NODE_FAIL); it has not started, or left no log:"),
    ],
)
def test_a_lost_job_is_told_with_how_it_ended_its_log_and_what_to_do(
    w2s_inside: Run, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, said: str
) -> None:
    def queue(settings: Mapping[str, Any], folder: Path) -> Losing:
        return Losing(folder, printed)

    monkeypatch.setattr(slurm, "queue", queue)
    monkeypatch.setattr(slurm, "check", lambda settings: None)
    monkeypatch.setattr(batch, "GONE_S", 0.0)
    failed = w2s_inside("train", *tiny, "launcher=slurm", "launcher.poll_seconds=0.1", code=1)
    (line,) = [line for line in failed.stderr.splitlines() if "its job 0 ended" in line]
    assert said in line
    assert line.endswith("The same command continues from the last checkpoint")
    (folder,) = (tmp_path / "outputs" / ".queue").glob("slurm-*")
    assert str(folder / "0_log.err") in line
    assert (folder / "0_log.err").exists() == (printed == "w2s")
    assert "Traceback" not in failed.stderr


class Waiting:
    """A batch system of several commands: a file for each job, which waits for ever, or until somebody stops it."""

    called: Callable[[], None] | None = None  # by the first question for states

    def __init__(self, folder: Path, jobs: Path) -> None:
        self.folder, self.jobs = folder, jobs

    def submit(self, made: Sequence[Array], stages: Mapping[str, Submitted]) -> Iterator[tuple[str, str, Path]]:
        for key in [key for array in made for key in array.stages]:
            (self.jobs / key).touch()
            yield key, key, self.jobs / "log"

    def states(self, jobs: Collection[str]) -> dict[str, str] | None:
        called, Waiting.called = Waiting.called, None
        if called is not None:
            called()
        return {job: "PENDING (Priority)" for job in jobs if (self.jobs / job).exists()}

    def stop(self, jobs: Collection[str], *, now: bool) -> None:
        for job in jobs:
            (self.jobs / job).unlink()

    def end_of(self, job: str) -> str:
        return ""

    @classmethod
    def play(cls, jobs: Path, patch: pytest.MonkeyPatch) -> None:
        """The commands of this process submit to it with launcher=slurm."""
        patch.setattr(slurm, "queue", lambda settings, folder: cls(folder, jobs))
        patch.setattr(slurm, "check", lambda settings: None)


OTHER = """
import sys
from pathlib import Path
import pytest
from tests.unit.run.test_batch import Waiting
from w2s_cli.cli import dispatch
Waiting.play(Path(sys.argv[1]), pytest.MonkeyPatch())
sys.exit(dispatch(sys.argv[2:]))
"""


@pytest.mark.slow
def test_ctrl_c_leaves_the_jobs_that_another_command_waits_for(
    w2s_inside: Run, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    on_slurm = [*tiny, "launcher=slurm", "launcher.poll_seconds=0.1"]
    others: list[subprocess.Popen[str]] = []
    submitted: set[str] = set()

    def another_command_comes_and_then_ctrl_c() -> None:
        submitted.update(path.name for path in jobs.iterdir())
        words = [sys.executable, "-c", OTHER, str(jobs), "label", *on_slurm]
        others.append(
            subprocess.Popen(
                words, cwd=tmp_path, env=environment(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, text=True
            )
        )
        assert others[0].stdout is not None
        printed = [others[0].stdout.readline()]
        while printed[-1] and "in the queue already" not in printed[-1]:
            printed.append(others[0].stdout.readline())
        assert printed[-1].startswith("0 stages submitted to slurm in 0 submissions; 4 are in the queue already"), (
            printed
        )
        os.kill(os.getpid(), signal.SIGINT)

    Waiting.play(jobs, monkeypatch)
    monkeypatch.setattr(Waiting, "called", another_command_comes_and_then_ctrl_c)
    try:
        stopped = w2s_inside("train", *on_slurm, code=75)
        assert "stopped; finished work is saved. Continue with: w2s train" in stopped.stderr
        left = {path.name for path in jobs.iterdir()}
        stages = (tmp_path / "outputs").glob("stages/*/*/stage.json")
        names = {path.parent.name.split("-")[0] for path in stages if path.parent.name[-12:] in left}
        assert left < submitted
        assert len(left) == 4
        assert names == {"local", "weak"}, "rows, the weak model and its labels"
        assert {path.stem for path in (tmp_path / "outputs/.queue").glob("*.json")} == left
        assert others[0].poll() is None, "it goes on waiting"
        others[0].send_signal(signal.SIGINT)  # nobody else waits for these now
        assert others[0].wait(timeout=60) == 75
        assert not list(jobs.iterdir())
        assert not list((tmp_path / "outputs/.queue").glob("*.json"))
    finally:
        for other in others:
            other.kill()
            other.communicate()
