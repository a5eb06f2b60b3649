"""Nothing outside a store is written or removed, whatever its files say; and a command removes nothing that another one needs."""

import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.conftest import command, environment
from tests.unit.store.test_holds import held_by_another
from w2s_cli.store.holds import PREFIX, holds
from w2s_cli.store.places import RUNS

Run = Callable[..., CompletedProcess[str]]
LINKED = [  # places of a store, as patterns
    *("stages", "stages/finetune", "stages/finetune/weak-*", "stages/finetune/weak-*/result"),
    *("stages/finetune/weak-*/result/model", "stages/finetune/weak-*/record.json", "stages/finetune/weak-*/.lock"),
    *(
        "stages/finetune/weak-*/stage.json",
        "stages/finetune/weak-*/log.txt",
        "stages/finetune/weak-*/result/manifest.json",
    ),
    *(".cache", ".cache/tokens", ".cache/digests.json", "runs", "runs/*", "runs/*/*", "runs/*/*/plan.json"),
    *("runs/*/*/results.json", "runs/*/*/stages", "sweeps", "sweeps/*", "sweeps/*/*", "sweeps/*/*/plan.json"),
]


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Every file with its content, every link with its target, and every folder below `folder`."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def one(outputs: Path, pattern: str) -> Path:
    (path,) = outputs.glob(pattern)
    return path


def move_behind_link(path: Path, outside: Path) -> None:
    """Move a file or folder out of the store, with a link in its place."""
    outside.mkdir()
    shutil.move(path, outside / path.name)
    path.symlink_to(outside / path.name)


@pytest.mark.parametrize("place", LINKED)
@pytest.mark.slow
def test_nothing_behind_a_link_is_written_or_removed(
    w2s_inside: Run, ran: list[str], tmp_path: Path, place: str
) -> None:
    outputs = tmp_path / "outputs"
    weak = one(outputs, "stages/finetune/weak-*").name
    if place.startswith("sweeps"):
        (outputs / "runs").rename(outputs / "sweeps")
    move_behind_link(one(outputs, place), tmp_path / "outside")
    before = tree(tmp_path / "outside")
    commands = [["ls"], ["evaluate", *ran, "keep_weights=false"], ["rm", "--weights", weak], ["rm", weak]]
    commands += [["report"]] if place.startswith(RUNS) else []
    commands += [["gc", "--yes", "--days", "0"]]
    for words in commands:
        done = w2s_inside(*words, code=None)
        assert done.returncode in (0, 2), f"{words}: {done.stderr}"
        assert tree(tmp_path / "outside") == before, words
    for run in [run for kind in RUNS for run in outputs.glob(f"{kind}/*/*")]:
        if not run.is_symlink() and not run.parent.is_symlink() and not run.parents[1].is_symlink():
            shutil.rmtree(run)  # now no run needs a stage
    w2s_inside("gc", "--yes", "--days", "0", code=None)
    assert tree(tmp_path / "outside") == before


@pytest.mark.parametrize("place", ["log.txt", "metrics.jsonl", "work", "result.tmp", ".lock", "old"])
def test_a_stage_is_not_made_again_through_a_link(w2s_inside: Run, ran: list[str], tmp_path: Path, place: str) -> None:
    stage = one(tmp_path / "outputs", "stages/evaluate/*-*")
    if (stage / place).exists():
        move_behind_link(stage / place, tmp_path / "outside")
    else:
        (tmp_path / "outside").mkdir()
        (stage / place).symlink_to(tmp_path / "outside" / place)
    before = tree(tmp_path / "outside")
    refused = w2s_inside("evaluate", *ran, "--force", "pgr", code=2)
    assert f"{stage / place} is a link" in refused.stderr
    assert tree(tmp_path / "outside") == before


def test_a_store_on_another_disk_works_as_a_whole(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    move_behind_link(tmp_path / "outputs", tmp_path / "disk")
    w2s_inside("evaluate", *ran, "--force", "pgr")
    w2s_inside("rm", "--weights", one(tmp_path / "outputs", "stages/finetune/weak-*").name)
    assert not list((tmp_path / "disk").glob("outputs/stages/finetune/weak-*/result/model/*.safetensors"))
    for run in (tmp_path / "outputs").glob("runs/*/*"):
        shutil.rmtree(run)
    w2s_inside("gc", "--yes")
    assert not list((tmp_path / "disk").glob("outputs/stages/*/*-*"))


@pytest.mark.parametrize("path", ["model/../../../../../../outside/x", "../../../../../outside/x", "/outside/x"])
@pytest.mark.parametrize("end", ["rm --weights", "rm", "gc", "keep_weights"])
def test_a_manifest_that_names_a_file_outside_removes_nothing_there(
    w2s_inside: Run, ran: list[str], tmp_path: Path, path: str, end: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("mine")
    path = str(tmp_path / "outside" / "x") if path.startswith("/") else path
    manifest = one(tmp_path / "outputs", "stages/finetune/weak-*/result/manifest.json")
    written = json.loads(manifest.read_text())
    weights = written["files"]["model/model.safetensors"]
    if not path.startswith("/"):
        assert (manifest.parent / path).resolve() == tmp_path / "outside" / "x"
    written["files"][path] = weights
    manifest.write_text(json.dumps(written))
    stage = manifest.parents[1].name
    if end == "gc":
        shutil.rmtree(tmp_path / "outputs" / "runs")
    ends = {"rm --weights": ["rm", "--weights", stage], "rm": ["rm", stage], "gc": ["gc", "--yes", "--days", "0"]}
    done = w2s_inside(*ends.get(end, ["evaluate", *ran, "keep_weights=false"]), code=None)
    assert done.returncode in (0, 2), done.stderr
    assert (tmp_path / "outside" / "x").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "/", "./", "../", "//", "~", "*", "-", " "])
def test_no_stage_is_named_by_nothing(w2s_inside: Run, tmp_path: Path, finished: Path, name: str) -> None:
    stage = one(finished, "stages/evaluate/*-*")
    shutil.copytree(stage, tmp_path / "outputs" / "stages" / "rows" / stage.name)
    before = tree(tmp_path / "outputs")
    for words in (["rm"], ["rm", "--weights"], ["show"], ["why"], ["logs"]):
        assert w2s_inside(*words, "--", name, code=2).stderr.startswith("w2s: ")
    if not name.strip():
        assert "this is no name" in w2s_inside("report", name, code=2).stderr
    assert tree(tmp_path / "outputs") == before


def test_a_path_names_only_the_stage_that_lies_there(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(outputs, tmp_path / "backup", symlinks=True)
    stage = one(outputs, "stages/finetune/weak-*")
    there = stage.relative_to(tmp_path)
    elsewhere = [
        str(Path("backup", *there.parts[1:])),
        str(tmp_path / "backup" / Path(*there.parts[1:])),
        f"x/{stage.name}",
    ]
    for name in [*elsewhere, str(there)[:-1], f"{there}/result", str(there.parent), str(tmp_path)]:
        refused = w2s_inside("rm", name, code=2)
        assert f"{name} is no stage of {outputs}" in refused.stderr
    assert stage.exists()
    for name in (
        str(there),
        f"{there}/",
        str(stage),
        f"./{there}",
        str(Path(*there.parts[1:])),
        stage.name[:-3],
        stage.name[-12:],
    ):
        assert f"folder: {stage} " in w2s_inside("show", name).stdout
    w2s_inside("rm", str(there))
    assert not stage.exists()
    assert (tmp_path / "backup" / Path(*there.parts[1:])).exists()


def test_a_run_is_removed_by_its_path_or_whole_name_and_its_stages_stay(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    run = one(outputs, "runs/*/*")
    shutil.copytree(outputs, tmp_path / "backup", symlinks=True)
    for name in (
        "latest",
        run.name[:6],
        run.name.rpartition("-")[2],
        f"backup/runs/{run.parent.name}/{run.name}",
        "outputs/runs",
    ):
        w2s_inside("rm", name, code=2)
    assert "weights belong to stages" in w2s_inside("rm", "--weights", run.name, code=2).stderr
    assert run.exists()
    w2s_inside("rm", f"runs/{run.parent.name}/{run.name}")
    assert not run.exists()
    assert (tmp_path / "backup" / "runs" / run.parent.name / run.name).exists()
    assert len(list(outputs.glob("stages/*/*-*"))) == w2s_inside("gc").stdout.count("in the plan of no run")


@pytest.mark.parametrize(
    "content",
    [
        *(None, "", "{", "[1]", "[]", "null", '{"stages": null}', '{"format": 2, "stages": []}'),
        '{"format": 2, "stages": [{"name": "weak"}]}',
    ],
)
def test_an_unreadable_plan_keeps_every_stage_until_the_run_is_resolved(
    w2s_inside: Run, ran: list[str], tmp_path: Path, content: str | None
) -> None:
    outputs = tmp_path / "outputs"
    plan = one(outputs, "runs/*/*/plan.json")
    whole = plan.read_text()
    plan.unlink()
    if content is not None:
        plan.write_text(content)
    plan.with_name("results.json").unlink()  # as of a run that was killed
    name = plan.parent.relative_to(outputs)
    kept = w2s_inside("gc", "--yes", "--days", "0")
    assert f"{name}: its plan cannot be read, so every stage stays" in kept.stderr
    assert f"w2s rm {name}" in kept.stderr
    assert not [line for line in kept.stdout.splitlines() if "stages/" in line]
    w2s_inside("train", *ran)
    assert {line["key"] for line in json.loads(plan.read_text())["stages"]} == {
        line["key"] for line in json.loads(whole)["stages"]
    }
    assert "cannot be read" not in w2s_inside("gc").stderr
    plan.write_text("{")
    w2s_inside("rm", str(name))
    assert "in the plan of no run" in w2s_inside("gc").stdout


def test_a_run_that_this_user_may_not_look_into_keeps_every_stage(
    w2s_inside: Run, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    day = one(outputs, "runs/*")
    closed = day.with_name("2026-01-01")
    closed.mkdir()
    stage = one(outputs, "stages/finetune/weak-*").name
    shutil.rmtree(day)
    assert "in the plan of no run" in w2s_inside("gc").stdout
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != closed)  # root may look into every folder
    kept = w2s_inside("gc", "--yes", "--days", "0")
    assert "runs/2026-01-01: its plan cannot be read, so every stage stays" in kept.stderr
    assert "a process of another user" in w2s_inside("rm", stage, code=2).stderr
    assert (outputs / "stages" / "finetune" / stage / "record.json").exists()


def test_gc_removes_the_rest_where_one_stage_cannot_be_removed(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.rmtree(one(outputs, "runs/*"))
    kept = one(outputs, "stages/finetune/ceiling-*")
    (kept / ".lock").unlink()
    (kept / ".lock").mkdir()  # cannot be opened, as a file of another user
    done = w2s_inside("gc", "--yes", "--days", "0")
    assert f"{kept.relative_to(outputs)} stays: " in done.stderr
    assert [path.name for path in outputs.glob("stages/*/*-*")] == [kept.name]


def test_a_run_is_named_by_its_path_however_the_path_is_spelled(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    run = one(tmp_path / "outputs", "runs/*/*")
    (tmp_path / "link").symlink_to(tmp_path / "outputs")
    w2s_inside("report", str(run), "--outputs", str(tmp_path / "link"))
    assert (run / "report.html").exists()
    w2s_inside("plot", str(tmp_path / "link" / run.relative_to(tmp_path / "outputs")), "--out", str(tmp_path / "f.png"))
    assert (tmp_path / "f.png").exists()


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "-inf", "-0.5"])
def test_gc_refuses_days_that_are_no_age(w2s_inside: Run, ran: list[str], days: str) -> None:
    assert "must be a finite number of days from 0 up" in w2s_inside("gc", "--yes", f"--days={days}", code=2).stderr


def test_what_another_command_holds_stays(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    model, run = one(outputs, "stages/finetune/weak-*"), outputs / "runs" / "2026-01-01" / "other"
    run.mkdir(parents=True)
    shutil.rmtree(one(outputs, "runs/2*/*-*"))
    with held_by_another(outputs, run, model.name[-12:]) as other:
        for words in (["rm", model.name], ["rm", "--weights", model.name]):
            refused = w2s_inside(*words, code=2)
            assert f"{model.name} is planned by a running command, pid {other.pid} on " in refused.stderr
        listed = w2s_inside("gc", "--yes")
        assert f"a running command keeps its stages: pid {other.pid} on " in listed.stderr
        assert [path.name for path in outputs.glob("stages/*/*-*")] == [model.name]
        assert (model / "result" / "model" / "model.safetensors").exists()
    w2s_inside("gc", "--yes")
    assert not model.exists()


def test_keep_weights_false_leaves_the_weights_that_another_command_holds(
    w2s_inside: Run, ran: list[str], tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    model, run = one(outputs, "stages/finetune/weak-*"), outputs / "runs" / "2026-01-01" / "other"
    run.mkdir(parents=True)
    with held_by_another(outputs, run, model.name[-12:]):
        w2s_inside("evaluate", *ran, "keep_weights=false")
        assert (model / "result" / "model" / "model.safetensors").exists()
    w2s_inside("evaluate", *ran, "keep_weights=false")
    assert not (model / "result" / "model" / "model.safetensors").exists()


def test_a_running_command_holds_its_plan_until_it_ends(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    model = one(outputs, "stages/finetune/weak-*")
    words = command(["train", *ran, "strong.epochs=2000", "loss=logconf"])
    with ExitStack() as stopping, (tmp_path / "printed").open("w") as printed:
        train = subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=printed, stderr=printed)
        stopping.callback(train.kill)
        while train.poll() is None and not list(outputs.glob("stages/finetune/*/owner.json")):
            time.sleep(0.05)
        refused = w2s_inside("rm", "--weights", model.name, code=2)
        assert f"planned by a running command, pid {train.pid} on " in refused.stderr
        (run,) = {hold.run for hold in holds(outputs)}
        assert "stop that process first" in w2s_inside("rm", f"{run.parent.name}/{run.name}", code=2).stderr
        train.send_signal(signal.SIGTERM)
        assert train.wait(timeout=60) == 75
    assert not list(outputs.glob(f"runs/*/*/{PREFIX}*"))
    w2s_inside("rm", "--weights", model.name)


def test_a_refused_command_leaves_no_run(w2s_inside: Run, tmp_path: Path, tiny: list[str]) -> None:
    w2s_inside("evaluate", *tiny, code=2)
    assert not list(tmp_path.glob("outputs/runs/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o002])
def test_every_file_of_a_run_has_the_mode_of_the_umask_and_the_group_of_the_store(
    tmp_path: Path, tiny: list[str], umask: int
) -> None:
    group = max(os.getgroups() or [os.getgid()]) if os.getuid() else 12345
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    os.chown(outputs, -1, group)
    outputs.chmod(0o2777 & ~umask)
    for words in (["label", *tiny], ["report"]):
        subprocess.run(command(words), cwd=tmp_path, env=environment(), check=True, capture_output=True, umask=umask)
    paths = [path for path in outputs.rglob("*") if not path.is_symlink()]
    assert any(path.suffix == ".safetensors" for path in paths)
    for path in paths:
        status = path.stat()
        expected = (0o2777 if path.is_dir() else 0o666) & ~umask
        assert oct(stat.S_IMODE(status.st_mode)) == oct(expected), path
        assert status.st_gid == group, path


@pytest.mark.parametrize("place", ["reproductions", "reproductions/burns_nlp-demo.json"])
def test_a_record_behind_a_link_is_refused_before_anything_runs(w2s_inside: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "outside").mkdir()
    link = tmp_path / "outputs" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "outside" / link.name)
    refused = w2s_inside("reproduce", "burns_nlp", "--scale", "demo", code=2)
    assert "is a link" in refused.stderr
    assert not list(tmp_path.glob("outputs/stages/*/*/stage.json"))
    assert tree(tmp_path / "outside") == {}


@pytest.mark.parametrize("revision", ["../../../../secret", "/secret", "..", "", "a/../../../../../secret"])
def test_a_revision_that_leads_elsewhere_is_refused(w2s_inside: Run, tmp_path: Path, revision: str) -> None:
    (tmp_path / "hub" / "models--EleutherAI--pythia-70m" / "refs").mkdir(parents=True)
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef01234567")
    refused = w2s_inside(
        "plan", "weak=pythia-70m", f"weak.revision='{revision}'", code=2, HF_HUB_CACHE=str(tmp_path / "hub")
    )
    assert f'the revision of model EleutherAI/pythia-70m "{revision}": this is no name' in refused.stderr
    assert not (tmp_path / "outputs" / ".cache" / "revisions.json").exists()
