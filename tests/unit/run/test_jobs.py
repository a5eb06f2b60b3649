"""launcher.jobs=2: two workers, and both of them are ended and waited for."""

import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import command, environment

Run = Callable[..., subprocess.CompletedProcess[str]]


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_cpu_time_of_a_command_with_two_jobs_is_that_of_both_workers(tiny: list[str], tmp_path: Path) -> None:
    quick = [*tiny, "data.limits={weak_train: 32, strong_train: 32, test: 32}", "launcher.jobs=2", "outputs=out"]
    before = cpu_of_children()
    subprocess.run(command(["train", *quick]), cwd=tmp_path, env=environment(), check=True, capture_output=True)
    used = cpu_of_children() - before
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("stages/*/*/record.json")]
    assert len({record["run"].rpartition("-")[2] for record in records}) == 2  # processes
    assert used > sum(record["cpu_s"] for record in records)
