"""500 random shapes of JSON in the files of a store: each command answers with a result or a message, and changes nothing outside."""

import contextlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command.test_outside import tree
from tests.json_shapes import changed, json_files
from w2s_cli import load
from w2s_cli.errors import UserError
from w2s_cli.run.runner import Runner
from w2s_cli.store.places import StoreError

Run = Callable[..., CompletedProcess[str]]
SHAPES, PARTS = 500, 5
PLANNED = 5  # of the shapes of a part: `w2s plan` takes half a second


@pytest.fixture
def store(ran: list[str], tmp_path: Path) -> Path:
    """A finished run with the further files that a store can have, beside a folder that nobody may touch."""
    outputs = tmp_path / "outputs"
    (tmp_path / "outside").mkdir()
    for name in ("keep", "keep.safetensors"):
        (tmp_path / "outside" / name).write_text("keep")
    stage = next(outputs.glob("stages/label/weak-*-test-*"))
    keys = {path.name[-12:]: 1.5 for path in outputs.glob("stages/*/*-*")}
    (stage / "owner.json").write_text(json.dumps({"host": "h", "pid": 1, "since": 1.0}))
    (stage / "failed.json").write_text(json.dumps({"event": "failed", "message": "m", "user": True, "time": 1.0}))
    (stage / "work" / "checkpoint-000000004").mkdir(parents=True)
    (stage / "work" / "checkpoint-000000004" / "state.json").write_text(json.dumps({"step": 4, "total": 8}))
    run = next(outputs.glob("runs/*/*"))
    for name in ("plan.json", "results.json"):  # without their digests, else no changed content would be read
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({field: content[field] for field in content.keys() - {"sha256", "config"}}))
    (run / "hold-0.json").write_text(json.dumps({"host": "h", "pid": 1, "since": 1.0, "process": "x", "keys": [*keys]}))
    (outputs / ".cache" / "revisions.json").write_text(json.dumps({"model:org/m@main": "a" * 40}))
    (outputs / "reproductions").mkdir()
    counts = {"asked": 9, "distinct": 9, "ran": 9, "cached": 0, "seconds": 3.0, "stages": keys, "run": "runs/x"}
    (outputs / "reproductions" / "x-demo.json").write_text(json.dumps({"experiment": "x", "scale": "demo", **counts}))
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))])
def test_no_shape_of_json_leads_outside_or_to_a_traceback(
    w2s_inside: Run, ran: list[str], store: Path, tmp_path: Path, part: int
) -> None:
    drawn = random.Random(part)
    whole = {path: path.read_text() for path in json_files(store)}
    configs = {path: path.read_text() for path in store.glob("runs/*/*/config.yaml")}
    evaluate = next(store.glob("stages/evaluate/*-*")).name
    outside = tree(tmp_path / "outside")
    for number in range(SHAPES // PARTS):
        path = drawn.choice([*whole, *configs])
        if path in configs:
            path.write_text(
                json.dumps(drawn.choice([[], 5, {"weak": 1}, {"strong": []}, {"method": {"stages": []}}, "&a [*a]"]))
            )
        else:
            path.write_text(changed(whole[path], drawn))
        stage = path.relative_to(store).parts[2] if path.is_relative_to(store / "stages") else evaluate
        commands = [["ls"], ["status"], ["table"], ["diff", "latest", "latest"], ["reproduce", "--summary"], ["gc"]]
        commands += [["show", stage], ["show", "--json", stage], ["why", evaluate], ["logs", stage]]
        chosen = drawn.sample(commands, 4) + ([["plan", *ran]] if number < PLANNED else [])
        for words in chosen:
            done = w2s_inside(*words, code=None)
            assert done.returncode in (0, 2), f"{words}\n{path}:\n{path.read_text()}\n{done.stderr}"
            assert done.stdout or done.stderr
        with contextlib.suppress(UserError, StoreError):
            load(store)
        if stage != evaluate and number % 4 == 0:
            removing(w2s_inside, path, stage, tmp_path)
        assert tree(tmp_path / "outside") == outside
        path.write_text({**whole, **configs}[path])


def removing(w2s_inside: Run, path: Path, stage: str, tmp_path: Path) -> None:
    """What removes: of a copy of the store, beside it, so that the same paths lead outside."""
    copy = shutil.copytree(tmp_path / "outputs", tmp_path / "copy", symlinks=True)
    for words in (["rm", "--weights", stage], ["rm", stage], ["gc", "--yes", "--days", "0"]):
        done = w2s_inside(*words, "--outputs", str(copy), code=None)
        assert done.returncode in (0, 2), f"{words}\n{path}:\n{path.read_text()}\n{done.stderr}"
    shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["stage.json", "record.json", "result/manifest.json"])
def test_no_shape_of_json_takes_a_worker_outside(store: Path, tmp_path: Path, name: str) -> None:
    (folder,) = store.glob("stages/evaluate/*-*")
    outside, drawn, text = tree(tmp_path / "outside"), random.Random(name), (folder / name).read_text()
    spare = shutil.copytree(folder, tmp_path / "spare")
    for _ in range(20):
        (folder / name).write_text(changed(text, drawn))
        events: list[dict[str, object]] = []
        assert Runner(events.append).run(folder) in ("done", "cached", "failed")
        assert events[-1].get("user", True), events
        assert tree(tmp_path / "outside") == outside
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)
