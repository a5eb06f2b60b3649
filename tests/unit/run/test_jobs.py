"""Several workers: the same bytes as of one, and all of them are ended and waited for."""

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import command, environment
from w2s_cli.run.launchers import local

Run = Callable[..., subprocess.CompletedProcess[str]]


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_the_cpu_time_of_a_command_with_two_jobs_is_that_of_both_workers(tiny: list[str], tmp_path: Path) -> None:
    quick = [*tiny, "data.limits={weak_train: 32, strong_train: 32, test: 32}", "launcher.jobs=2", "outputs=out"]
    before = cpu_of_children()
    subprocess.run(command(["train", *quick]), cwd=tmp_path, env=environment(), check=True, capture_output=True)
    used = cpu_of_children() - before
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("stages/*/*/record.json")]
    assert len({record["run"].rpartition("-")[2] for record in records}) == 2  # processes
    assert used > sum(record["cpu_s"] for record in records)


def test_a_signal_while_a_worker_starts_stops_the_command(
    w2s_inside: Run, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = local.start

    def interrupted(settings: Mapping[str, Any], processes: int) -> local.LocalWorker:
        os.kill(os.getpid(), signal.SIGTERM)
        return start(settings, processes)

    monkeypatch.setattr(local, "start", interrupted)
    assert "Continue with: w2s train" in w2s_inside("train", *ran, "student.epochs=9000", code=75).stderr


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two stages side by side need two cores")
def test_independent_stages_run_side_by_side_with_the_bytes_of_one_at_a_time(
    w2s_inside: Run, tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    w2s_inside("train", *tiny, OMP_NUM_THREADS="2")
    folders = {path.parent.name: path.parent for path in (tmp_path / "outputs").glob("stages/*/*/record.json")}
    records = {name: json.loads((folder / "record.json").read_text()) for name, folder in folders.items()}
    trained = [record for record in records.values() if record["kind"] == "finetune"]
    assert len({record["run"].rpartition("-")[2] for record in trained}) == 2  # processes
    assert {(record["execution"]["threads"], record["execution"]["cores"]) for record in trained} == {(1, 2)}
    alone = {path.parent.name: path for path in finished.glob("stages/*/*/record.json")}  # made with one core
    assert alone.keys() == records.keys()
    for name, record in records.items():
        assert record["result"] == json.loads(alone[name].read_text())["result"]
