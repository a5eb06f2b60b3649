"""`launcher=command`, with a script of the shell as the cluster: it has its own environment, and keeps the worker's output."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import command, environment
from tests.faults.test_resume import artifacts
from w2s_cli.run.launchers.command import LineWorker

Run = Callable[..., subprocess.CompletedProcess[str]]
CLUSTER = """#!/bin/sh
# as a batch system: an empty environment, another folder, the output in a file
cd / && echo "job accepted" && env -i PATH="$PATH" setsid --wait "$1" > "$2/jobs.log" 2>&1
"""


@pytest.fixture
def cluster(tmp_path: Path) -> list[str]:
    """The words that choose the script as the launcher."""
    script = tmp_path / "submit.sh"
    script.write_text(CLUSTER, encoding="utf-8")
    script.chmod(0o755)
    return ["launcher=command", f'launcher.template="{script} {{worker}} {tmp_path} # {{name}}"', "launcher.threads=1"]


@pytest.mark.slow
def test_a_cluster_makes_the_bytes_of_this_machine(
    w2s_inside: Run, cluster: list[str], tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    done = w2s_inside("label", *tiny, *cluster)
    assert "labels (local, seed 0): done" in done.stdout
    assert re.search(r"weak \(.*: started", done.stdout)  # read from the stage's folder
    assert not re.search(r"weak \(.*: done in 0\.0 s", done.stdout)  # the time of the stage, not of the news of its end
    made, of_machine = artifacts(tmp_path / "outputs"), artifacts(finished)
    assert len(made) == 4
    assert all(of_machine[key] == manifest for key, manifest in made.items())
    assert not [path for name in ("worker.sh", "stop", "progress.json") for path in tmp_path.rglob(name)]


@pytest.mark.slow
def test_ctrl_c_saves_on_the_cluster_too(cluster: list[str], tiny: list[str], w2s_inside: Run, tmp_path: Path) -> None:
    words = ["label", *tiny, *cluster, "weak.epochs=3000", "launcher.log_every=1"]
    running = subprocess.Popen(
        command(words), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not [path for path in tmp_path.glob("outputs/stages/finetune/*/metrics.jsonl") if path.stat().st_size]:
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 75
    assert "stopped; finished work is saved" in errors
    assert list(tmp_path.glob("outputs/stages/finetune/*/work/checkpoint-*"))
    assert "resumable" in w2s_inside("status").stdout


def test_a_line_that_cannot_run_a_worker_tells_what_it_printed(w2s_inside: Run, tiny: list[str]) -> None:
    line = 'launcher.template="echo connect to node7: no route to host; exit 255 # {worker}"'
    done = w2s_inside("label", *tiny, "launcher=command", line, code=1)
    assert "ended with code 255 and left no result. It printed: connect to node7: no route to host" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(sleep 3; {worker}) >/dev/null 2>&1 & echo job 4711", "wait for the worker's end, as qsub -sync y does. It printed: job 4711"),
        ("true {worker}", "must wait for the worker's end"),
        ("no-such-program {worker}", "names a program that does not exist here. It printed: "),
    ],
)  # fmt: skip
def test_a_line_that_does_not_wait_or_does_not_exist_is_told_as_that(
    w2s_inside: Run, tiny: list[str], line: str, message: str
) -> None:
    done = w2s_inside("label", *tiny, "launcher=command", f'launcher.template="{line}"', code=2)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "launcher=command needs the line that runs a worker"),
        ("ssh node7", "{worker} is missing"),
        ("ssh {host} {worker}", "there is no {host}"),
        ("ssh {worker", "A brace of the shell is written twice"),
    ],
)
def test_a_template_without_its_place_is_refused_before_a_run(
    w2s_inside: Run, tiny: list[str], template: str | None, message: str
) -> None:
    words = [] if template is None else [f'launcher.template="{template}"']
    done = w2s_inside("label", *tiny, "launcher=command", *words, code=2)
    assert message in done.stderr


def test_settings_of_another_launcher_are_refused(w2s_inside: Run, tiny: list[str]) -> None:
    done = w2s_inside("label", *tiny, "launcher.partition=gpu", code=2)
    assert "launcher.partition=gpu has no effect with launcher=local: use it with launcher=slurm" in done.stderr


def test_a_start_that_the_folder_told_already_is_not_told_again(tmp_path: Path) -> None:
    worker = LineWorker("{worker}", 1)
    worker.give("a" * 12, tmp_path, None)
    start = b'{"event": "started"}'
    assert worker._event(start) == {"event": "started"}
    assert worker._event(start) is None
    worker.code()
    worker.end()
