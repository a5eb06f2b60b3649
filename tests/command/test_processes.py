"""`launcher.processes=2` from the command line: accelerate starts the processes, keys stay, and one failure has one message."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import command, environment
from tests.faults.test_resume import EVERY_STEP, artifacts, assert_same, gone, worker_of

Run = Callable[..., subprocess.CompletedProcess[str]]
TWO = ["launcher.processes=2", "launcher.device=cpu"]


def records(outputs: Path) -> dict[str, dict[str, Any]]:
    """Key → record of the finished stages."""
    return {path.parent.name[-12:]: json.loads(path.read_text()) for path in outputs.glob("stages/*/*/record.json")}


def metrics(outputs: Path, kind: str) -> dict[str, list[dict[str, float]]]:
    """Key → the lines of metrics.jsonl of each stage of a kind."""
    return {
        path.parent.name[-12:]: [json.loads(line) for line in path.read_text().splitlines()]
        for path in outputs.glob(f"stages/{kind}/*/metrics.jsonl")
    }


def test_a_run_on_two_processes_has_the_keys_labels_and_losses_of_one(
    w2s: Run, tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    w2s("train", *tiny, *TWO)
    one, two = records(finished), records(tmp_path / "outputs")
    assert one.keys() == two.keys()
    for key, record in two.items():
        # the stages with a model; the others had one process, as ever
        assert record["execution"]["processes"] == (2 if record["kind"] in ("finetune", "label") else 1), key
    assert metrics(finished, "finetune").keys() == metrics(tmp_path / "outputs", "finetune").keys()
    for key, lines in metrics(finished, "finetune").items():
        for before, after in zip(lines, metrics(tmp_path / "outputs", "finetune")[key], strict=True):
            assert before == pytest.approx(after, abs=1e-5)
    for path in finished.glob("stages/label/*/result/labels.parquet"):
        wanted, found = pq.read_table(path), pq.read_table(tmp_path / "outputs" / path.relative_to(finished))
        assert wanted["id"] == found["id"]
        np.testing.assert_allclose(wanted["p"].to_pylist(), found["p"].to_pylist(), atol=1e-5)
    w2s("train", *tiny)  # one process finds what two have made
    assert records(tmp_path / "outputs") == two


FAULTY = '''"""A loss that fails in one of two processes."""

import os

from torch import Tensor
from torch.nn.functional import cross_entropy

PER_EXAMPLE = True


def faulty(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy, until the second half."""
    if progress > 0.5 and os.environ.get("RANK") == "1":
        END
    return cross_entropy(logits, labels)
'''


def own_loss(folder: Path, end: str) -> list[str]:
    """The words of a run with a loss of one's own, which does `end` in process 1."""
    (folder / "losses").mkdir(parents=True)
    (folder / "loss").mkdir()
    (folder / "losses" / "faulty.py").write_text(FAULTY.replace("END", end))
    (folder / "loss" / "faulty.yaml").write_text("name: faulty\n")
    return ["--config-dir", str(folder), "loss=faulty"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ('raise KeyError("a row")', 2, "KeyError"),
        pytest.param("os._exit(3)", 1, "ended with code 3: the stage ended the process", marks=pytest.mark.slow),
        pytest.param("os.kill(os.getpid(), 11)", 1, "was killed by signal 11", marks=pytest.mark.slow),
    ],
)
def test_a_failure_in_one_of_two_processes_has_one_message_and_ends_both(
    w2s: Run, tiny: list[str], ran: list[str], tmp_path: Path, end: str, code: int, said: str
) -> None:
    failed = w2s("train", *tiny, *own_loss(tmp_path / "mine", end), *TWO, code=code, timeout=120)
    assert failed.stderr.count("stage student failed: ") == 1
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "closed by peer" not in failed.stderr
    (note,) = (tmp_path / "outputs").glob("stages/finetune/student*faulty*/failed.json")
    assert said in json.loads(note.read_text())["message"]
    assert "stage ceiling" not in failed.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_words: list[str]) -> Path:
    """A finished run on two processes."""
    folder = tmp_path_factory.mktemp("two")
    arguments = command(["train", *tiny_words, *TWO])
    subprocess.run(arguments, cwd=folder, env=environment(), check=True, capture_output=True)
    return folder / "outputs"


@pytest.mark.slow
def test_a_process_killed_by_signal_9_is_told_and_continued_with_the_same_bytes(
    w2s: Run, tiny: list[str], tmp_path: Path, undisturbed: Path
) -> None:
    log = tmp_path / "hits"
    points = [
        "finetune.step:3@1",
        "finetune.step:3@0",
        "checkpoint.files-written:2@0",
        "label.step@1",
        "publish.renamed@0",
    ]
    for point in points:
        failed = w2s("train", *tiny, *TWO, *EVERY_STEP, code=1, W2S_FAULT=point, W2S_FAULT_LOG=str(log))
        assert "its worker was killed by signal 9" in failed.stderr
        assert "Traceback" not in failed.stderr
    assert set(log.read_text().split()) == {point.partition(":")[0].partition("@")[0] for point in points}
    w2s("train", *tiny, *TWO, *EVERY_STEP)
    assert_same(undisturbed, tmp_path / "outputs")


def ranks_of(agent: int) -> list[int]:
    """The processes that accelerate has started."""
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


@pytest.fixture
def running(tiny: list[str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, list[int]]]:
    """A command with a long training on two processes; the process of accelerate, and these two."""
    words = [*tiny, *TWO, "launcher.log_every=1", "weak.epochs=400", "launcher.checkpoint_seconds=9999"]
    process = subprocess.Popen(
        command(["train", *words]),
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    first = worker_of(tmp_path / "outputs", "finetune")
    agent = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
    yield process, agent, ranks_of(agent)
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["command", "group", "rank 1"])
def test_a_stop_saves_in_all_processes_and_the_same_command_goes_on(
    w2s: Run,
    tiny: list[str],
    tmp_path: Path,
    running: tuple[subprocess.Popen[str], int, list[int]],
    who: str,
) -> None:
    process, agent, ranks = running
    if who == "group":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        os.kill(process.pid if who == "command" else ranks[1], signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "Continue with: w2s train" in errors
    assert all(gone(pid) for pid in (agent, *ranks))
    assert len(list((tmp_path / "outputs").glob("stages/finetune/*/work/checkpoint-*"))) >= 1
    assert not list((tmp_path / "outputs").glob("stages/*/*/failed.json"))
    w2s("train", *tiny, "launcher.log_every=1", "weak.epochs=400")  # on one process
    (log,) = (tmp_path / "outputs").glob("stages/finetune/weak*/log.txt")
    assert "resumed at step" in log.read_text()


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_behind(
    running: tuple[subprocess.Popen[str], int, list[int]],
) -> None:
    process, agent, ranks = running
    assert len(ranks) == 2
    os.kill(process.pid, signal.SIGKILL)
    assert all(gone(pid) for pid in (agent, *ranks))


BY_HAND: list[Sequence[str]] = [
    ["w2s_cli.run.processes", "2"],
    [
        *(
            "accelerate.commands.launch",
            "--multi_gpu",
            "--num_processes",
            "2",
            "--num_machines",
            "1",
            "--main_process_port",
            "0",
        ),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "-m", "w2s_cli.run.worker"),
    ],
]


@pytest.mark.slow
@pytest.mark.parametrize("line", BY_HAND, ids=["w2s", "accelerate"])
def test_a_stage_is_run_by_hand_on_two_processes(
    line: Sequence[str], ran: list[str], tmp_path: Path, undisturbed: Path
) -> None:
    (stage,) = (tmp_path / "outputs").glob("stages/finetune/weak*")
    (stage / "record.json").unlink()
    before = (stage / "result").rename(stage / "before")
    done = subprocess.run(
        [sys.executable, "-m", *line, str(stage)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert (events[0], events[-1]) == ("started", "done")
    assert events.count("done") == 1
    assert artifacts(tmp_path / "outputs")[stage.name[-12:]] == artifacts(undisturbed)[stage.name[-12:]]
    assert sorted(path.name for path in before.iterdir()) == sorted(path.name for path in (stage / "result").iterdir())


@pytest.mark.slow
def test_texts_and_preferences_on_two_processes_have_the_keys_of_one(
    w2s: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    from tests import small_texts

    words = small_texts.words(tmp_path, tiny_models, small_texts.EVERY_KIND)
    w2s("train", *words, "outputs=one")
    began = time.monotonic()
    w2s("train", *words, *TWO, "outputs=two")
    assert time.monotonic() - began < 200
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert one.keys() == two.keys()
    texts = [
        path.relative_to(tmp_path / "one")
        for path in (tmp_path / "one").glob("stages/generate/*/result/completions.parquet")
    ]
    assert texts
    for path in texts:
        wanted, found = (pq.read_table(tmp_path / name / path) for name in ("one", "two"))
        assert wanted.drop_columns(["log_p"]) == found.drop_columns(["log_p"])


@pytest.mark.slow
def test_the_student_alone_has_two_processes_with_its_weights_in_parts(
    w2s: Run, tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    words = [*tiny, "launcher.resources.student={processes: 2, fsdp: true}", "launcher.device=cpu"]
    w2s("train", *words)
    one, two = records(finished), records(tmp_path / "outputs")
    assert one.keys() == two.keys()
    shared = {key for key, record in two.items() if record["execution"]["processes"] == 2}
    in_parts = {key for key, record in two.items() if record["execution"]["fsdp"]}
    (student,) = in_parts
    folder = next((tmp_path / "outputs").glob(f"stages/finetune/student-*-{student}"))
    assert "its weights lie in parts on them" in (folder / "log.txt").read_text()
    assert {two[key]["kind"] for key in shared} == {"finetune", "label"}  # the student, and its labels of the test rows
    assert len(shared) == 2
    assert in_parts < shared
    for before, after in zip(
        metrics(finished, "finetune")[student], metrics(tmp_path / "outputs", "finetune")[student], strict=True
    ):
        assert before == pytest.approx(after, abs=1e-5)
