"""Killed anywhere, the same command continues and ends with the same bytes as a run that nobody disturbed."""

import contextlib
import fcntl
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import small_texts
from tests.conftest import command, environment, sentences, without_weak, write_jsonl
from w2s_cli.pipeline import kinds

Run = Callable[..., subprocess.CompletedProcess[str]]

# One step per checkpoint, so that a kill anywhere loses at most one.
EVERY_STEP = ["launcher.checkpoint_seconds=0", "launcher.log_every=1"]

TRAINING_POINTS = [
    "rows.claimed",
    "rows.start",
    "finetune.claimed",
    "finetune.start",
    "finetune.step:1",
    "finetune.step:3",
    "checkpoint.begin",
    "checkpoint.tensors-written",
    "checkpoint.files-written",
    "checkpoint.renamed",
    "label.claimed",
    "label.start",
    "label.step",
    "evaluate.claimed",
    "evaluate.start",
    "evaluate.step",
]
STARTS_S = 3.0  # until the first stage of a command starts
PUBLISHING_POINTS = [
    "publish.begin",
    "publish.synced",
    "publish.manifest-written",
    "publish.renamed",
    "publish.recorded",
    "publish.cleaned",
]


def artifacts(outputs: Path) -> dict[str, str]:
    """key → manifest.json, which holds the digests of labels, metrics and weights, of every finished stage."""
    found = {}
    for record in sorted(outputs.glob("stages/*/*/record.json")):
        found[record.parent.name[-12:]] = (record.parent / "result" / "manifest.json").read_text()
    return found


def assert_same(one: Path, other: Path) -> None:
    """Both folders hold the same stages, byte for byte."""
    first, second = artifacts(one), artifacts(other)
    assert first.keys() == second.keys()
    assert first
    for key, manifest in first.items():
        assert json.loads(manifest) == json.loads(second[key]), key
    assert first == second


def kill_at_each(w2s_inside: Run, arguments: Sequence[str], points: Sequence[str], log: Path) -> None:
    """Run the command once per point, dying there, and at last to its end."""
    for point in points:
        done = w2s_inside(*arguments, code=None, W2S_FAULT=point, W2S_FAULT_LOG=str(log))
        assert done.returncode == 1, f"{point}: {done.stdout}\n{done.stderr}"
        assert "killed by signal 9" in done.stderr
    hits = dict.fromkeys(log.read_text().splitlines())  # a point may kill the workers of several stages in one command
    assert list(hits) == list(dict.fromkeys(point.partition(":")[0] for point in points))
    w2s_inside(*arguments)


def test_a_worker_killed_while_training_saving_and_publishing_is_continued(
    w2s_inside: Run, tiny: list[str], tmp_path: Path, finished: Path
) -> None:
    points = ["finetune.step:3", "checkpoint.tensors-written", "checkpoint.files-written", "publish.renamed"]
    kill_at_each(w2s_inside, ["train", *tiny, *EVERY_STEP, "outputs=killed"], points, tmp_path / "hits")
    assert_same(finished, tmp_path / "killed")


@pytest.mark.faults
def test_a_worker_killed_at_any_point_of_training_is_continued(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    w2s_inside("train", *tiny, *EVERY_STEP, "outputs=plain")
    kill_at_each(w2s_inside, ["train", *tiny, *EVERY_STEP, "outputs=killed"], TRAINING_POINTS, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


@pytest.mark.faults
def test_a_worker_killed_while_publishing_is_continued(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    quick = [*tiny, "data.limits={weak_train: 32, strong_train: 32, test: 32}"]
    w2s_inside("train", *quick, "outputs=plain")
    kill_at_each(w2s_inside, ["train", *quick, "outputs=killed"], PUBLISHING_POINTS, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


@pytest.mark.faults
def test_a_probe_killed_at_any_point_is_continued(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    probe = [*(word for word in tiny if ".lr=" not in word), "train=probe"]
    w2s_inside("train", *probe, "outputs=plain")
    kill_at_each(
        w2s_inside,
        ["train", *probe, "outputs=killed"],
        ["features.claimed", "features.start", "features.step"],
        tmp_path / "hits",
    )
    assert_same(tmp_path / "plain", tmp_path / "killed")


@pytest.mark.faults
def test_several_seeds_killed_in_the_summary_are_continued(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    seeds = [*tiny, "seeds=2", "data.limits={weak_train: 32, strong_train: 32, test: 32}"]
    w2s_inside("train", *seeds, "outputs=plain")
    points = ["summary.claimed", "summary.start", "summary.step"]
    kill_at_each(w2s_inside, ["train", *seeds, "outputs=killed"], points, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


@pytest.mark.faults
def test_imported_labels_killed_at_any_point_are_continued(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    labels = write_jsonl(
        tmp_path / "labels.jsonl", [{"id": row["id"], "label": row["label"]} for row in sentences(240)]
    )
    words = [*without_weak(tiny), "labels=file", f"labels.path={labels}"]
    w2s_inside("label", *words, "outputs=plain")
    points = ["import_labels.claimed", "import_labels.start", "import_labels.step"]
    kill_at_each(w2s_inside, ["label", *words, "outputs=killed"], points, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


POOLS = "data.pools={test: 0.2, weak_train: 0.3, weak_val: 0.1, strong_val: 0.1, strong_train: 0.3}"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("words", "points"),
    [
        (
            ["method=ensemw2s", "ensemble=2"],
            ["boost.claimed", "boost.start", "boost.step", "combine.claimed", "combine.start", "combine.step"],
        ),
        (
            ["method=selection", "select=knn_relabel", "select.args.k=3", "control=random_labels"],
            ["select.claimed", "select.start", "select.step"],
        ),
        (["method=generative_finetuning"], ["tune.claimed", "tune.start", "tune.step:2"]),
        (
            ["method=few_shot", 'few_shot.tokens=["a","o"]', "few_shot.shots=2"],
            ["few_shot.claimed", "few_shot.start", "few_shot.step"],
        ),
        (["method=misfit_gain"], ["theory.claimed", "theory.start", "theory.step"]),
        (
            ["stopping=weak_labels", "stopping.every=2"],
            ["finetune.step:3", "checkpoint.files-written", "finetune.step:5"],
        ),
        (
            ["-m", "student.lr=interval(1e-3,1e-2)", "search.trials=1"],
            ["validate.claimed", "validate.start", "validate.step"],
        ),
    ],
    ids=["ensemw2s", "selection", "generative_finetuning", "few_shot", "theory", "stopping", "search"],
)
def test_a_method_killed_at_any_point_of_its_own_stages_is_continued(
    w2s_inside: Run, tiny: list[str], tmp_path: Path, words: list[str], points: list[str]
) -> None:
    models_and_rows = [] if "method=misfit_gain" in words else [*tiny, POOLS]  # that method draws its own
    arguments = ["train", *models_and_rows, *EVERY_STEP, *words]
    w2s_inside(*arguments, "outputs=plain")
    kill_at_each(w2s_inside, [*arguments, "outputs=killed"], points, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


TEXT_POINTS = [
    *("solutions.claimed", "solutions.start", "solutions.step"),
    *("choose.claimed", "choose.start", "choose.step"),
    *("pair.claimed", "pair.start", "pair.step"),
    *("score.claimed", "score.start", "score.step"),
    *("tune.claimed", "tune.start", "tune.step:1", "tune.step:3", "checkpoint.begin", "checkpoint.files-written"),
    *("generate.claimed", "generate.start", "generate.step"),
    *("grade.claimed", "grade.start", "grade.step"),
    *("evaluate_texts.claimed", "evaluate_texts.start", "evaluate_texts.step"),
    *("summary_texts.claimed", "summary_texts.start", "summary_texts.step"),
]


@pytest.mark.faults
@pytest.mark.faults
def test_texts_killed_at_any_point_of_their_stages_are_continued(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    arguments = ["train", *small_texts.words(tmp_path, tiny_models, small_texts.EVERY_KIND), *EVERY_STEP, "seeds=2"]
    w2s_inside(*arguments, "outputs=plain")
    kill_at_each(w2s_inside, [*arguments, "outputs=killed"], TEXT_POINTS, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


def test_a_tuning_and_its_reference_killed_by_signal_9_are_continued(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    arguments = ["train", *small_texts.words(tmp_path, tiny_models, small_texts.EVERY_KIND), *EVERY_STEP]
    w2s_inside(*arguments, "outputs=plain")
    points = ["tune.step:3", "checkpoint.files-written", "score.step"]
    kill_at_each(w2s_inside, [*arguments, "outputs=killed"], points, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


EXAM = """truth: {kind: solutions, rows: strong_train}
  sft: {kind: tune, model: "${strong}", rows: strong_train, texts: truth, tune: "${tune}"}
  own: {kind: generate, model: sft, rows: weak_train}
  exam: {kind: exam, student: sft, rows: weak_train, texts: own, questions_from: strong_train, questions: 2}"""


@pytest.mark.faults
def test_an_exam_killed_at_any_point_is_continued(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    arguments = ["train", *small_texts.words(tmp_path, tiny_models, EXAM), *EVERY_STEP, "data.grader=number"]
    w2s_inside(*arguments, "outputs=plain")
    kill_at_each(w2s_inside, [*arguments, "outputs=killed"], ["exam.claimed", "exam.start"], tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


@pytest.mark.faults
def test_the_theory_of_differences_killed_at_any_point_is_continued(w2s_inside: Run, tmp_path: Path) -> None:
    w2s_inside("train", "method=delta_theory", "outputs=plain")
    points = ["delta_theory.claimed", "delta_theory.start", "delta_theory.step"]
    kill_at_each(w2s_inside, ["train", "method=delta_theory", "outputs=killed"], points, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


def test_every_kind_is_killed_somewhere_in_this_file() -> None:
    text = Path(__file__).read_text()
    assert [name for name in kinds.kind_names() if f'"{name}.start"' not in text] == []


RECIPE = """
name: tiny
corpus: {path: CORPUS, templates: ["{text}"]}
tokenizer: {vocab_size: 300, add_prefix_space: true}
architecture: {model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
batch_entries: 16
epochs: 2
precision: fp32
"""


@pytest.mark.faults
def test_pretraining_killed_at_any_point_is_continued(w2s_inside: Run, tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", sentences(64))
    (tmp_path / "mine" / "pretrain").mkdir(parents=True)
    (tmp_path / "mine" / "pretrain" / "tiny.yaml").write_text(RECIPE.replace("CORPUS", str(corpus)))
    words = ["--config-dir", str(tmp_path / "mine"), "pretrain=tiny", *EVERY_STEP]
    w2s_inside("pretrain", *words, "outputs=plain")
    points = ["pretrain.claimed", "pretrain.start", "pretrain.step:3", "checkpoint.files-written"]
    kill_at_each(w2s_inside, ["pretrain", *words, "outputs=killed"], points, tmp_path / "hits")
    assert_same(tmp_path / "plain", tmp_path / "killed")


def random_kills(tiny: list[str], undisturbed: Path, folder: Path, kills: int, seed: int) -> None:
    """SIGKILL the whole process group at random moments, `kills` times, then let the command finish; compare."""
    drawn = random.Random(seed)
    arguments = command(["train", *tiny, *EVERY_STEP])
    stages = [json.loads(path.read_text()) for path in undisturbed.glob("stages/*/*/record.json")]
    whole_run_s = max(one["ended"] for one in stages) - min(one["started"] for one in stages) + STARTS_S
    hits = 0
    while hits < kills:
        process = subprocess.Popen(
            [*arguments, "outputs=killed"],
            cwd=folder,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=drawn.uniform(0.05, 0.9) * whole_run_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            hits += 1
            continue
        assert process.returncode == 0
        shutil.rmtree(folder / "killed")  # it got through: start again, so that there is something to kill
    subprocess.run([*arguments, "outputs=killed"], cwd=folder, env=environment(), check=True, capture_output=True)
    assert_same(undisturbed, folder / "killed")


@pytest.mark.faults
def test_three_random_kills_of_the_process_group_change_nothing(
    tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    random_kills(tiny, finished, tmp_path, kills=3, seed=1)


@pytest.mark.faults
@pytest.mark.faults
def test_thirty_random_kills_of_the_process_group_change_nothing(
    tiny: list[str], finished: Path, tmp_path: Path
) -> None:
    random_kills(tiny, finished, tmp_path, kills=30, seed=2)


def worker_of(outputs: Path, kind: str, within_s: float = 60.0) -> int:
    """The process id of the worker once it has a stage of `kind` and has made some steps."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for owner in outputs.glob(f"stages/{kind}/*/owner.json"):
            if (owner.parent / "metrics.jsonl").exists():
                return int(json.loads(owner.read_text())["pid"])
        time.sleep(0.05)
    raise AssertionError(f"no worker took a {kind} stage")


LONG = ["launcher.log_every=1", "weak.epochs=200", "outputs=out"]


def start(tiny: list[str], folder: Path, **options: Any) -> subprocess.Popen[str]:
    """The command, long enough to be disturbed."""
    arguments = command(["train", *tiny, *LONG])
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(arguments, cwd=folder, env=environment(), start_new_session=True, text=True, **streams)


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process has ended."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_killed_parent_leaves_no_worker_behind(tiny: list[str], tmp_path: Path) -> None:
    process = start(tiny, tmp_path)
    worker = worker_of(tmp_path / "out", "finetune")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert gone(worker)


@pytest.fixture
def closing_terminals_count() -> Iterator[None]:
    """SIGHUP ends a process that does not handle it, also where nohup started these tests."""
    old = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, old)


@pytest.mark.slow
@pytest.mark.usefixtures("closing_terminals_count")
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.faults),
        pytest.param(signal.SIGHUP, marks=pytest.mark.faults),
    ],
)
def test_a_polite_stop_saves_and_says_how_to_continue(tiny: list[str], tmp_path: Path, number: signal.Signals) -> None:
    words = [*tiny, "data.classes=[a tool, an animal]"]
    process = start(words, tmp_path)
    worker = worker_of(tmp_path / "out", "finetune")
    if number != signal.SIGTERM:
        os.killpg(process.pid, number)  # as a terminal does, and Slurm: parent and worker both get it
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    pasted = shlex.split(errors.rpartition("Continue with: ")[2])
    assert pasted[:2] == ["w2s", "train"]
    assert set(pasted) >= set(words)
    assert gone(worker)
    states = subprocess.run(
        command(["status", "outputs=out"]), cwd=tmp_path, env=environment(), capture_output=True, text=True
    ).stdout
    assert "resumable" in states
    assert "step " in states


@pytest.mark.faults
def test_a_training_that_a_batch_system_ends_is_continued(w2s: Run, tiny: list[str], tmp_path: Path) -> None:
    process = start([*tiny, "launcher.checkpoint_seconds=9999"], tmp_path)
    worker = worker_of(tmp_path / "out", "finetune")
    os.killpg(process.pid, signal.SIGUSR1)  # Slurm's --signal=USR1@60 …
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)  # … and its time limit
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert gone(worker)
    w2s("train", *tiny, *LONG)
    assert any("resumed at step" in path.read_text() for path in (tmp_path / "out").glob("stages/finetune/*/log.txt"))


@pytest.mark.faults
def test_a_worker_that_is_stopped_alone_stops_the_command(tiny: list[str], tmp_path: Path) -> None:
    process = start([*tiny, "launcher.jobs=2"], tmp_path)
    worker = worker_of(tmp_path / "out", "finetune")
    os.kill(worker, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "Continue with: " in errors
    assert not list((tmp_path / "out").glob("stages/*/*/failed.json"))
    assert list((tmp_path / "out").glob("stages/finetune/*/work/checkpoint-*"))


@pytest.mark.usefixtures("closing_terminals_count")
@pytest.mark.faults
def test_a_terminal_that_is_closed_loses_nothing(tiny: list[str], tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = start(tiny, tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal)
    os.close(theirs)
    worker = worker_of(tmp_path / "out", "finetune")
    os.close(ours)  # the kernel sends SIGHUP, and nothing can be printed any more
    process.wait(timeout=60)
    assert gone(worker)
    checkpoints = list((tmp_path / "out").glob("stages/finetune/*/work/checkpoint-*"))
    assert len(checkpoints) == 1


def take_terminal() -> None:
    """Make standard input the controlling terminal of this process's session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.faults
def test_nohup_stays_in_force(tiny: list[str], tmp_path: Path) -> None:
    arguments = command(["train", *tiny, "launcher.log_every=1", "weak.epochs=20", "outputs=out"])
    process = subprocess.Popen(
        ["nohup", *arguments],
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    worker_of(tmp_path / "out", "finetune")
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(timeout=120) == 0


@pytest.mark.faults
def test_a_second_stop_signal_kills_at_once(tiny: list[str], tmp_path: Path) -> None:
    process = start([*tiny, "launcher.checkpoint_seconds=9999"], tmp_path)
    worker = worker_of(tmp_path / "out", "finetune")
    os.kill(worker, signal.SIGSTOP)  # it cannot answer the first one
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 75
    assert gone(worker)


@pytest.mark.faults
def test_four_commands_at_once_run_every_stage_once(tiny: list[str], tmp_path: Path) -> None:
    arguments = command(
        ["train", "-m", *tiny, "seed=0,1", "data.limits={weak_train: 48, strong_train: 48, test: 48}", "outputs=out"]
    )
    started = [
        subprocess.Popen(
            arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        out, errors = process.communicate(timeout=240)
        assert process.returncode == 0, f"{out}\n{errors}"
        assert "PGR" in out
    folders = list((tmp_path / "out").glob("stages/*/*/record.json"))
    runs = [json.loads(path.read_text())["run"] for path in folders]
    assert len(runs) == 1 + 2 * 2 + 2 * 8 + 1  # test rows, training rows of two seeds, the method's stages, the summary
    assert not list((tmp_path / "out").glob("stages/*/*/old"))
    began = [path for path in (tmp_path / "out").glob("stages/finetune/*/log.txt") if path.read_text().count("resumed")]
    assert not began
