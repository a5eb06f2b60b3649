"""The jobs of a batch system, which a test plays: what a command tells of jobs that the system has lost."""

import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

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
