"""Trackers: what each library keeps can be read back, each step once, also of a killed stage; one at fault costs a line and no result."""

import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment, once
from tests.inside import run_inside
from tests.json_shapes import WRONG
from w2s_cli.errors import UserError
from w2s_cli.paths import PACKAGE
from w2s_cli.pipeline.contract import Traits
from w2s_cli.pipeline.packages import need_imports
from w2s_cli.plugins import code_names
from w2s_cli.run import trackers, tracking
from w2s_cli.run.tracker_process import Position
from w2s_cli.run.tracking import Tracking, numbers

Run = Callable[..., subprocess.CompletedProcess[str]]
NAMES = code_names(trackers.FOLDER)
INSTALLED = [name for name in NAMES if importlib.util.find_spec(name)]
EVERY_STEP = ["launcher.jobs=1", "launcher.log_every=1", "launcher.checkpoint_seconds=0"]
OWN = """
import json, os, time

class Own:
    def __init__(self, stage, folder):
        self.path = folder / f"{stage.id}.jsonl"
        self.write("start", {"name": stage.name, "tags": stage.tags, "continued": stage.continued, "config": stage.config})

    def write(self, what, value):
        with self.path.open("a") as file:
            file.write(json.dumps([what, value]) + "\\n")

    def log(self, step, figures):
        LOG
        self.write(step, dict(figures))

    def end(self, metrics):
        END
        self.write("end", metrics)

def start(stage, folder, tell):
    START
    print("a library prints")
    return Own(stage, folder)
"""


def write_tracker(folder: Path, **lines: str) -> Path:
    """A --config-dir folder with the tracker `own`, which writes what it gets; `lines` are added to its functions."""
    text = OWN
    for place in ("LOG", "END", "START"):
        text = text.replace(f" {place}\n", f" {lines.get(place.lower(), 'pass')}\n")
    (folder / "run" / "trackers").mkdir(parents=True, exist_ok=True)
    (folder / "run" / "trackers" / "own.py").write_text(text)
    return folder


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """The folder of a stage in a store."""
    folder = tmp_path / "outputs" / "stages" / "finetune" / "student-abc123abc123"
    folder.mkdir(parents=True)
    return folder


class Shown:
    """A worker's trackers, with the tracker `own` alone."""

    def __init__(self, stage: Path, own: Path) -> None:
        self.stage, self.own, self.events = stage, own, list[dict[str, Any]]()
        self.tracking = Tracking()

    def begin(self, **traits: Any) -> "Shown":
        """Begin with the stage."""
        about: dict[str, Any] = {"role": "student", "model": "gpt2", "seed": 3}
        chosen = {"names": ["own"], "group": "a-run", "methods": ["naive"], "about": about}
        params = {"lr": 0.1, "loss": {"name": "kl", "args": {"t": 2.0}}, "betas": [0.9, 0.99], "lora": None}
        execution = {"tracker": chosen, "folders": [str(self.own)]}
        job = {"key": "abc123abc123", "kind": "finetune", "name": "student", "params": params, "execution": execution}
        self.tracking.begin(self.stage, job, Traits(**{"trains": True, **traits}), self.events.append)
        return self

    def figures(self, *steps: int, **figures: float) -> "Shown":
        for step in steps:
            self.tracking.figures({"step": step, **(figures or {"loss": 1 / step})})
        return self

    def end(self, metrics: dict[str, Any] | None) -> list[Any]:
        """End the stage, and the worker; what the tracker has got of the stage."""
        self.tracking.end(metrics)
        for process in self.tracking.processes.values():
            process.close()
            process.popen.wait()
        return self.got()

    def got(self, name: str = "abc123abc123") -> list[Any]:
        path = self.stage.parents[2] / "trackers" / "own" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Sent:
    """In place of a tracker's process: the jobs that it would get."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def send(self, job: Any) -> None:
        self.jobs.append(job)


def steps_of(got: list[Any]) -> list[Any]:
    return [what for what, _ in got if isinstance(what, int)]


def test_a_tracker_gets_the_identity_the_figures_and_the_final_metrics(stage: Path, tmp_path: Path) -> None:
    shown = Shown(stage, write_tracker(tmp_path / "own")).begin().figures(10, 20, 30)
    shown.figures(30, val_accuracy=0.5, odd=float("nan"))
    metrics = {"loss": 0.5, "strong": {"accuracy": {"value": 0.75}, "interval": [0.6, 0.9], "constant": False}}
    (_, start), *figures, (end, final) = shown.end(metrics)
    assert start["name"] == "student-abc123abc123"
    assert start["tags"] == ["finetune", "student", "naive"]
    assert not start["continued"]
    identity = {"lr": 0.1, "loss.name": "kl", "loss.args.t": 2.0, "betas": "[0.9, 0.99]", "lora": None}
    assert start["config"] == {**identity, "role": "student", "model": "gpt2", "seed": 3, "kind": "finetune"} | {
        "stage": "student"
    }
    assert figures == [[10, {"loss": 0.1}], [20, {"loss": 0.05}], [30, {"loss": 1 / 30}], [30, {"val_accuracy": 0.5}]]
    assert (end, final) == ("end", {"loss": 0.5, "strong.accuracy": 0.75})
    assert shown.events == []


def test_each_step_is_shown_once_however_often_the_stage_is_stopped_and_sent_again(stage: Path, tmp_path: Path) -> None:
    own = write_tracker(tmp_path / "own")
    Shown(stage, own).begin().figures(1, 2, 3, 4).end(None)  # killed after step 4; its checkpoint is at step 2
    got = Shown(stage, own).begin().figures(1, 2).figures(3, 4, 5, 6).end(None)
    assert steps_of(got) == [1, 2, 3, 4, 5, 6]
    got = Shown(stage, own).begin().figures(1, 2, 3, 4, 5, 6).figures(6, val_auroc=0.7).figures(7).end({"loss": 0.1})
    assert [value for what, value in got if what == 6] == [{"loss": 1 / 6}, {"val_auroc": 0.7}]
    assert steps_of(got) == [1, 2, 3, 4, 5, 6, 6, 7]
    assert [value["continued"] for what, value in got if what == "start"] == [False, True, True]
    assert [value for what, value in got if what == "end"] == [None, None, {"loss": 0.1}]


def test_what_a_command_without_the_tracker_recorded_is_shown_by_the_next_one(stage: Path, tmp_path: Path) -> None:
    own = write_tracker(tmp_path / "own")
    Shown(stage, own).begin().figures(1, 2).end(None)
    assert steps_of(Shown(stage, own).begin().figures(1, 2, 3, 4, 5).end({})) == [1, 2, 3, 4, 5]


def test_a_killed_workers_tracker_ends_by_itself_and_the_next_one_waits_for_it(stage: Path, tmp_path: Path) -> None:
    shown = Shown(stage, write_tracker(tmp_path / "own", log="time.sleep(0.3)")).begin().figures(1, 2, 3)
    while not shown.got():
        time.sleep(0.01)
    shown.tracking.processes["own"].close()  # as the kernel does at the death of a worker
    got = Shown(stage, shown.own).begin().figures(1, 2, 3, 4).end({})
    assert steps_of(got) == [1, 2, 3, 4]
    assert [what for what, _ in got] == ["start", 1, 2, 3, "end", "start", 4, "end"]


def test_a_late_process_of_a_killed_worker_does_not_open_a_finished_run(stage: Path, tmp_path: Path) -> None:
    own = write_tracker(tmp_path / "own")
    got = Shown(stage, own).begin().figures(1, 2).end({"loss": 0.5})
    assert Shown(stage, own).begin().figures(1, 2).end(None) == got


@pytest.mark.parametrize("content", ["[" * 100_000, '{"step": 1e999, "names": [], "ended": false}', "\0"])
def test_a_position_that_is_none_is_as_a_missing_one_and_the_next_process_continues(
    stage: Path, tmp_path: Path, content: str
) -> None:
    shown = Shown(stage, write_tracker(tmp_path / "own")).begin().figures(1, 2)
    shown.end(None)
    position = stage.parents[2] / "trackers" / "own" / "positions" / "abc123abc123.json"
    position.write_text(content)
    got = Shown(stage, shown.own).begin().figures(1, 2, 3).end(None)
    assert steps_of(got) == [1, 2, 1, 2, 3]
    got = Shown(stage, shown.own).begin().figures(1, 2, 3, 4).end({})
    assert steps_of(got) == [1, 2, 1, 2, 3, 4]
    assert [value["continued"] for what, value in got if what == "start"] == [False, False, True]
    assert shown.events == []


def test_a_position_is_read_as_it_was_written_and_any_other_shape_is_a_new_run(tmp_path: Path) -> None:
    path = tmp_path / "positions" / "a.json"

    def read() -> tuple[bool, int, list[str], bool]:
        with ExitStack() as opened:
            position = Position(path, opened)
            return position.is_new, position.step, position.names, position.ended

    new = (True, -1, list[str](), False)
    assert read() == new
    with ExitStack() as opened:
        Position(path, opened).moved(3, {"loss": 0.5})
    assert read() == (False, 3, ["loss"], False)
    fields = {"step": 3, "names": ["loss"], "ended": False}
    others = [{**fields, "step": True}, {**fields, "step": -2}, {**fields, "names": "loss"}, {**fields, "ended": 0}]
    for content in (*WRONG, *map(json.dumps, others)):
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
        assert read() == new, content[:60]


def test_a_result_that_is_made_again_is_a_run_of_its_own(stage: Path, tmp_path: Path) -> None:
    own = write_tracker(tmp_path / "own")
    Shown(stage, own).begin().figures(1, 2).end({"loss": 1.0})
    (stage / "record.json").write_text("{}")
    again = Shown(stage, own).begin().figures(1, 2)
    again.end({"loss": 2.0})
    assert steps_of(again.got("abc123abc123-2")) == [1, 2]
    assert again.got("abc123abc123-2")[0][1]["name"] == "student-abc123abc123-2"
    assert again.got()[-1] == ["end", {"loss": 1.0}]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({"start": "raise ValueError('no\\nnetwork')"}, "ValueError: no network"),
        ({"start": "import w2s_absent"}, "ModuleNotFoundError: No module named 'w2s_absent'"),
        ({"log": "if step == 2: raise OSError(28, 'No space left on device')"}, "No space left on device"),
        ({"end": "raise SystemExit(3)"}, "SystemExit: 3"),
        ({"log": "os._exit(9)"}, "its process ended with code 9"),
        ({"start": "return None"}, "start must return an object with log(step, figures) and end(metrics)"),
    ],
)
def test_a_tracker_that_fails_is_told_with_its_reason_and_nothing_is_raised(
    lines: dict[str, str], told: str, stage: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(stage, write_tracker(tmp_path / "own", **lines)).begin().figures(1, 2, 3)
    shown.end({"loss": 1.0})
    [event] = shown.events
    assert event["event"] == "notice"
    assert event["text"].startswith("tracker own failed, and shows no more of this stage: ")
    assert told in event["text"]
    assert event["text"] in capfd.readouterr().err  # which is the stage's log
    write_tracker(shown.own)  # the network is back
    assert [what for what, _ in shown.begin().figures(4).end({})][-2:] == [4, "end"]
    assert len(shown.events) == 1


def test_a_tracker_that_hangs_is_left_after_a_while_and_not_started_again(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "END_S", 0.5)
    shown = Shown(stage, write_tracker(tmp_path / "own", start="time.sleep(3600)")).begin()
    hanging = shown.tracking.processes["own"].popen
    began = time.monotonic()
    shown.figures(*range(1, 2000))
    assert time.monotonic() - began < 2  # a training does not wait
    shown.end({})
    assert 0.5 <= time.monotonic() - began < 4
    assert [event["text"] for event in shown.events] == [
        "tracker own has not ended within 0.5 s: this worker goes on without it"
    ]
    shown.begin().figures(1).end({})
    assert len(shown.events) == 1
    assert not shown.tracking.processes
    hanging.kill()
    hanging.wait()


def test_a_tracker_that_reads_nothing_fills_no_memory(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "LARGEST", 10_000)
    shown = Shown(stage, write_tracker(tmp_path / "own")).begin()
    process = shown.tracking.processes["own"]
    process.popen.send_signal(signal.SIGSTOP)  # its pipe fills
    shown.figures(*range(1, 20_000))
    assert [event["text"] for event in shown.events] == [
        "tracker own takes no more figures: this worker goes on without it"
    ]
    process.popen.kill()
    process.popen.wait()


def test_the_process_of_a_tracker_ends_after_its_worker_even_if_its_library_hangs(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent()
    monkeypatch.setattr(tracking, "_Process", lambda name: sent)
    Shown(stage, write_tracker(tmp_path / "own", log="time.sleep(3600)")).begin()
    code = "from w2s_cli.run import tracker_process; tracker_process.END_S = 1; tracker_process.main('own')"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    process.communicate(
        "".join(json.dumps(job) + "\n" for job in [*sent.jobs, {"figures": {"step": 1, "loss": 0.5}}]).encode()
    )
    assert process.returncode == -signal.SIGALRM


def test_one_process_shows_all_stages_of_a_worker_and_a_dead_one_is_replaced(stage: Path, tmp_path: Path) -> None:
    shown = Shown(stage, write_tracker(tmp_path / "own")).begin().figures(1)
    shown.tracking.end(None)
    first = shown.tracking.processes["own"]
    shown.begin().figures(2)
    shown.tracking.end(None)
    assert shown.tracking.processes["own"] is first
    first.popen.kill()
    first.popen.wait()
    assert steps_of(shown.begin().figures(3).end({})) == [1, 2, 3]
    assert shown.events == []


def test_only_trainings_comparisons_and_stages_with_figures_are_shown(stage: Path, tmp_path: Path) -> None:
    own = write_tracker(tmp_path / "own")
    assert Shown(stage, own).begin(trains=False, gives="labels").end({"rows": 3}) == []
    assert steps_of(Shown(stage, own).begin(trains=False, gives="rows").figures(1).end(None)) == [1]
    assert Shown(stage, own).begin(trains=False, gives="comparison").end({"pgr": 0.5})[-1] == ["end", {"pgr": 0.5}]


def test_a_folder_of_trackers_outside_of_the_store_is_refused(stage: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (stage.parents[2] / "trackers").symlink_to(tmp_path / "elsewhere")
    shown = Shown(stage, write_tracker(tmp_path / "own")).begin().figures(1)
    assert shown.end({}) == []
    assert "is a link" in shown.events[0]["text"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_numbers_are_finite_and_named_by_their_place() -> None:
    values = {
        "a": {"value": 1},
        "b": [1, 2],
        "c": True,
        "d": float("inf"),
        "e": "x",
        "f": {"g": {"h": 2.5}},
        "i": 10**400,
    }
    assert numbers(values) == {"a": 1, "f.g.h": 2.5}


def test_a_misspelt_tracker_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'tracker=\[wandbb\]: unknown tracker "wandbb". Did you mean "wandb"'):
        trackers.check(["wandbb"], [], packages=True)
    own = write_tracker(tmp_path / "mine")
    trackers.check(["own"], [own], packages=True)
    with pytest.raises(UserError, match='Did you mean "own"'):
        trackers.check(["own_"], [own], packages=False)
    for name in ("__init__", "../own", ""):
        with pytest.raises(UserError, match="unknown tracker"):
            trackers.check([name], [own], packages=True)


def test_a_file_without_start_is_refused(tmp_path: Path) -> None:
    own = write_tracker(tmp_path / "mine")
    (own / "run" / "trackers" / "own.py").write_text("def begin(): ...\n")
    with pytest.raises(UserError, match=r"own\.py defines no function start\(stage, folder, tell\)"):
        trackers.load("own", [own])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_told_as_pip_takes_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module, *a: None if module == name else find(module, *a))
    with pytest.raises(UserError) as refused:
        need_imports(PACKAGE / trackers.FOLDER / f"{name}.py")
    packages = {"mlflow": '"alembic" "mlflow-skinny" "sqlalchemy"'}.get(name, f'"{name}"')
    assert str(refused.value) == f"trackers/{name}.py imports {name}, which is not installed: pip install {packages}."


# the command


def manifests(outputs: Path) -> dict[str, bytes]:
    """Name of a stage's folder → its manifest, with the digests of all files and the metrics."""
    return {path.parents[1].name: path.read_bytes() for path in outputs.glob("stages/*/*/result/manifest.json")}


@pytest.mark.slow
def test_a_tracker_at_fault_is_told_once_a_command_and_changes_no_byte_and_no_key(
    ran: list[str], finished: Path, w2s_inside: Run, tmp_path: Path
) -> None:
    fault = "raise OSError(28, 'No space left on device')"
    own = write_tracker(tmp_path / "mine", start="tell(f'figures are in {folder}')", log=fault)
    words = [*ran, f"--config-dir={own}", "tracker=[own]", "outputs=tracked", "launcher.log_every=1"]
    said = w2s_inside("train", *words).stdout
    assert said.count("No space left on device") == said.count("figures are in") == 1
    assert "tracker own failed, and shows no more of this stage: OSError: [Errno 28]" in said
    assert manifests(tmp_path / "tracked") == manifests(finished)
    logs = [path.read_text() for path in (tmp_path / "tracked").glob("stages/finetune/*/log.txt")]
    assert [log.count("tracker own failed") for log in logs] == [1, 1, 1]
    assert all("a library prints" in log for log in logs)
    for path in (tmp_path / "tracked").glob("stages/*/*/record.json"):
        names = json.loads(path.read_text())["execution"]["tracker"]["names"]
        assert names == ["own"]


@pytest.mark.slow
def test_a_run_killed_at_any_step_is_one_run_with_each_step_once(
    tiny: list[str], w2s_inside: Run, tmp_path: Path
) -> None:
    own = write_tracker(tmp_path / "mine")
    words = [*tiny, f"--config-dir={own}", "tracker=[own]", *EVERY_STEP]
    for step, words_of_kill in ((3, []), (4, ["launcher.checkpoint_seconds=999"]), (2, [])):
        rest = [word for word in words if not words_of_kill or not word.startswith("launcher.checkpoint")]
        w2s_inside("label", *rest, *words_of_kill, code=1, W2S_FAULT=f"finetune.step:{step}")
    w2s_inside("train", *words)
    for folder in (tmp_path / "outputs" / "stages" / "finetune").iterdir():
        if folder.is_dir():
            lines = (tmp_path / "outputs" / "trackers" / "own" / f"{folder.name[-12:]}.jsonl").read_text().splitlines()
            got = [json.loads(line) for line in lines]
            metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            assert [{"step": what, **value} for what, value in got if isinstance(what, int)] == metrics
            assert [value is None for what, value in got if what == "end"][-1:] == [False]


def test_an_unknown_tracker_is_refused_before_anything_runs_and_a_plan_needs_no_package(
    tiny: list[str], w2s_inside: Run, tmp_path: Path
) -> None:
    said = w2s_inside("train", *tiny, "tracker=[tensorbord]", code=2).stderr
    assert 'tracker=[tensorbord]: unknown tracker "tensorbord". Did you mean "tensorboard"?' in said
    assert "must be a list, for example tracker=[wandb]" in w2s_inside("train", *tiny, "tracker=wandb", code=2).stderr
    own = write_tracker(tmp_path / "mine", start="import w2s_absent")
    words = [*tiny, f"--config-dir={own}", "tracker=[own]"]
    assert "trackers/own.py imports w2s_absent, which is not installed" in w2s_inside("train", *words, code=2).stderr
    assert not (tmp_path / "outputs" / "stages").exists()
    assert "to run" in w2s_inside("plan", *words).stdout


# what the libraries keep of one run that was killed


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, tiny_words: list[str]) -> Path:
    """The folder of a finished run in all installed trackers, whose first training was killed after two steps."""

    def make(folder: Path) -> None:
        words = [*tiny_words, "train.epochs=3", *EVERY_STEP, f"tracker=[{','.join(INSTALLED)}]"]
        quiet = environment(WANDB_MODE="offline")
        killed = run_inside(["label", *words], folder, {**quiet, "W2S_FAULT": "finetune.step:3"})
        assert killed.returncode == 1, killed.stdout + killed.stderr
        done = run_inside(["train", *words], folder, quiet)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "tracker " not in killed.stdout + done.stdout, killed.stdout + done.stdout

    return once(tmp_path_factory, "tracked", make) / "outputs"


def killed_stage(outputs: Path) -> Path:
    """The stage that was killed."""
    [folder] = (outputs / "stages" / "finetune").glob("weak-*")
    assert (folder / "log.txt").read_text().count("resumed at step 2/") == 1
    return folder


def comparison(outputs: Path) -> tuple[Path, dict[str, float]]:
    """The evaluate stage, and the numbers of its result."""
    [folder] = (outputs / "stages" / "evaluate").glob("*-*")
    return folder, numbers(json.loads((folder / "result" / "manifest.json").read_text())["metrics"])


def recorded(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of metrics.jsonl."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) > 6
    return [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in lines]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name not in INSTALLED, reason=f"{name} is not installed")


@needs("tensorboard")
def test_tensorboard_shows_each_step_once_and_the_settings(tracked: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    def read(folder: Path) -> EventAccumulator:
        shown = EventAccumulator(str(tracked / "trackers" / "tensorboard" / folder.name))
        shown.Reload()
        return shown

    folder = killed_stage(tracked)
    shown = read(folder)
    assert [(event.step, event.value) for event in shown.Scalars("loss")] == recorded(folder)
    [final] = shown.Scalars("final/train_accuracy_vs_labels")
    assert final.step == len(recorded(folder))
    plugin = shown.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(plugin).hparams
    assert settings["lr"].number_value == 5e-3
    assert settings["role"].string_value == "weak"
    evaluated, metrics = comparison(tracked)
    assert read(evaluated).Scalars(
        "final/strong.accuracy" if "strong.accuracy" in metrics else "final/student.accuracy"
    )


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, which is a LevelDB log: blocks of 32 KiB, records with checksum, size and kind."""
    from wandb.proto import wandb_internal_pb2

    data, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(part)
            part = b""


@needs("wandb")
def test_wandb_offline_has_one_run_id_and_each_step_once(tracked: Path) -> None:
    folder = killed_stage(tracked)
    key = folder.name[-12:]
    files = sorted((tracked / "trackers" / "wandb" / "wandb").glob(f"offline-run-*/run-{key}.wandb"))
    assert len(files) == 2  # one for each process
    steps, runs, summary = list[tuple[int, float]](), list[Any](), dict[str, Any]()
    for record in (record for path in files for record in wandb_records(path)):
        if record.WhichOneof("record_type") == "run":
            runs.append(record.run)
        elif record.WhichOneof("record_type") == "history":
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            steps.append((row["_step"], row["loss"]))
        elif record.WhichOneof("record_type") == "summary":
            summary |= {item.key: json.loads(item.value_json) for item in record.summary.update if item.key}
    assert steps == recorded(folder)
    assert {run.run_id for run in runs} == {key}
    assert {(run.project, run.job_type, run.display_name) for run in runs} == {("w2s", "finetune", folder.name)}
    assert set(runs[-1].tags) == {"finetune", "weak", "naive"}
    groups = {folder.name for folder in (tracked / "runs").glob("*/*")}
    assert {run.run_group for run in runs} == groups  # of the killed command, and of the one that went on
    assert summary["final/steps"] == len(steps)


@needs("mlflow")
def test_mlflow_has_one_run_with_each_step_once(tracked: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tracked}/trackers/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("w2s")
    runs = {run.data.tags["w2s.key"]: run for run in client.search_runs([experiment.experiment_id])}
    folder = killed_stage(tracked)
    run = runs[folder.name[-12:]]
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == recorded(folder)
    assert (run.info.status, run.info.run_name) == ("FINISHED", folder.name)
    assert run.data.params["lr"] == "0.005"
    assert run.data.metrics["final/steps"] == len(history)
    evaluated, metrics = comparison(tracked)
    final = runs[evaluated.name[-12:]].data.metrics
    assert final == {f"final/{name}": value for name, value in metrics.items()}
    assert len(runs) == 4  # three trainings and a comparison
    assert not Path(tracked.parent / "mlruns").exists()


@needs("mlflow")
def test_mlflow_takes_a_file_store(stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    shown = Shown(stage, tmp_path)
    link = tmp_path / "run" / "trackers" / "own.py"
    link.parent.mkdir(parents=True)
    link.write_text((PACKAGE / trackers.FOLDER / "mlflow.py").read_text())
    shown.begin().figures(1, 2).end({"accuracy": 0.5})
    assert shown.events == []
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(f"file:{tmp_path}/mlruns")
    [run] = client.search_runs([client.get_experiment_by_name("w2s").experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert run.data.metrics["final/accuracy"] == 0.5


@needs("trackio")
def test_trackio_has_one_run_with_each_step_once(tracked: Path) -> None:
    import sqlite3

    folder = killed_stage(tracked)
    with sqlite3.connect(tracked / "trackers" / "trackio" / "w2s.db") as database:
        rows = database.execute(
            "select run_id, step, metrics from metrics where run_name = ? order by id", (folder.name,)
        )
        got = [(run, step, json.loads(metrics)) for run, step, metrics in rows]
        [config] = database.execute("select config from configs where run_name = ?", (folder.name,)).fetchone()
    assert len({run for run, _, _ in got}) == 1
    assert [(step, row["loss"]) for _, step, row in got if "loss" in row] == recorded(folder)
    assert got[-1][2]["final/steps"] == got[-1][1] == len(recorded(folder))
    assert json.loads(config)["lr"] == 5e-3


@pytest.mark.skipif(not INSTALLED, reason="no tracker is installed")
def test_a_finished_run_is_not_shown_again_and_its_files_are_no_stages(
    tracked: Path, tiny: list[str], w2s_inside: Run
) -> None:
    def files() -> dict[Path, int]:
        paths = [path for path in (tracked / "trackers").rglob("*") if path.is_file()]
        return {
            path: path.stat().st_mtime_ns for path in paths if path.suffix not in (".db-shm", ".db-wal")
        }  # of readers

    before = files()
    words = [*tiny, "train.epochs=3", f"tracker=[{','.join(INSTALLED)}]", f"outputs={tracked}"]
    assert "PGR" in w2s_inside("train", *words).stdout
    assert files() == before
    assert "trackers" not in w2s_inside("gc", "--outputs", str(tracked)).stdout
    assert "trackers" not in w2s_inside("ls", "--outputs", str(tracked)).stdout


@needs("wandb")
def test_wandb_without_a_key_goes_offline_says_how_to_send_and_asks_for_nothing(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    link = tmp_path / "run" / "trackers" / "own.py"
    link.parent.mkdir(parents=True)
    link.write_text((PACKAGE / trackers.FOLDER / "wandb.py").read_text())
    shown = Shown(stage, tmp_path).begin().figures(1)
    shown.end({})
    [event] = shown.events
    assert re.search(
        r"W&B writes to .*/trackers/own/wandb; after wandb login, this sends it: \(cd .*; wandb sync\)", event["text"]
    )
