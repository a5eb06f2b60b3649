"""Damage to the files of a store: it is noticed by the next command, no figure is made of it, and the same command makes the rest right.

* Each file of each result of two small pipelines, which have all kinds of artifacts between them, is cut, has a bit flipped, is deleted,
  edited, or swapped with another file.
* Each JSON file of a store, also those of running stages, is replaced by each of the wrong contents of tests/json_shapes.py.
"""

import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests import small_texts
from tests.conftest import environment, once
from tests.faults.counting import Tally
from tests.faults.counting import finished as finished_stages
from tests.faults.test_resume import artifacts
from tests.inside import run_inside
from tests.stage_files import context
from w2s_cli.errors import UserError
from w2s_cli.results.reader import read_run
from w2s_cli.results.runs import CONFIG, PLAN
from w2s_cli.store import files
from w2s_cli.store.ranks import ALONE
from w2s_cli.store.store import Store
from w2s_cli.training import checkpoint, shards
from w2s_cli.training.sharding import Sharding, Span

Run = Callable[..., subprocess.CompletedProcess[str]]
FIGURE = re.compile(r"\d+\.\d+|\d+ %")


def cut(path: Path, drawn: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: drawn.randrange(path.stat().st_size)])


def flip(path: Path, drawn: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)


def delete(path: Path, drawn: random.Random) -> None:
    path.unlink()


def edit(path: Path, drawn: random.Random) -> None:
    content = path.read_bytes()
    digits = [at for at, byte in enumerate(content) if 48 <= byte < 57]
    at = drawn.choice(digits) if digits else 0
    changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    if path.suffix == ".json" and _same_numbers(content, changed):
        edit(path, drawn)
    else:
        path.write_bytes(changed)


def _same_numbers(one: bytes, other: bytes) -> bool:
    """Whether two texts of JSON have equal values: the 17th digit of a number may change nothing."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def swap(path: Path, drawn: random.Random) -> None:
    """Put another file in its place: of this name from another stage where the store has one."""
    others = [one for one in path.parents[3].rglob("*") if one.is_file() and one.read_bytes() != path.read_bytes()]
    same = [one for one in others if one.name == path.name]
    shutil.copy(drawn.choice(sorted(same or others)), path)


DAMAGES = (cut, flip, delete, edit, swap)


@pytest.fixture
def texts(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> tuple[Path, list[str]]:
    """The outputs of a finished run with every kind of stage for texts, and its words."""

    def make(folder: Path) -> None:
        words = small_texts.words(folder, tiny_models, small_texts.EVERY_KIND)
        done = run_inside(["train", *words], folder, environment())
        assert done.returncode == 0, done.stderr
        (folder / "words.json").write_text(json.dumps(words))

    folder = once(tmp_path_factory, "texts", make)
    return folder / "outputs", json.loads((folder / "words.json").read_text())


def result_files(outputs: Path) -> list[Path]:
    """The files of all results, with their manifests."""
    return sorted(path for path in outputs.glob("stages/*/*/result/**/*") if path.is_file() and path.stat().st_size)


@pytest.mark.faults
@pytest.mark.parametrize("pipeline", ["classifiers", "texts"])
def test_each_damaged_artifact_is_noticed_shown_by_nobody_and_made_again(
    w2s_inside: Run, tiny: list[str], finished: Path, texts: tuple[Path, list[str]], tmp_path: Path, pipeline: str
) -> None:
    source, words = (finished, tiny) if pipeline == "classifiers" else texts
    outputs = tmp_path / "outputs"
    shutil.copytree(source, outputs, symlinks=True)
    w2s_inside("train", *words)  # the times of the copied files are looked up once
    tally, drawn = Tally("damage", f"results of {pipeline}"), random.Random(5)
    whole = artifacts(outputs)
    figures = {command: figures_of(w2s_inside(command, code=None)) for command in ("table", "ls")}
    for number, path in enumerate(result_files(outputs)):
        stage, before = path.relative_to(outputs).parts[2], path.read_bytes()
        times = path.stat()
        for damage in DAMAGES:
            damage(path, drawn)
            tally.add(damage.__name__)
            what = f"{damage.__name__} {path.relative_to(outputs)}"
            shown = w2s_inside("show", stage, code=None)
            if "damaged" not in shown.stdout or "\nmetrics" in shown.stdout or shown.returncode:
                tally.wrong.append(f"{what}: show: {shown.stdout[:300]} {shown.stderr[:300]}")
            for command in ("table", "ls"):
                done = w2s_inside(command, code=None)
                if done.returncode not in (0, 2) or not figures_of(done) <= figures[command]:
                    tally.wrong.append(f"{what}: {command}: {done.stdout[:500]} {done.stderr[:300]}")
            if number % len(DAMAGES) == DAMAGES.index(damage):
                planned = w2s_inside("plan", *words, code=None)
                line = next((line for line in planned.stdout.splitlines() if stage[-12:] in line), "")
                if planned.returncode or "damaged" not in line:
                    tally.wrong.append(f"{what}: plan: {line} {planned.stderr[:300]}")
            path.write_bytes(before)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for path in drawn.sample(result_files(outputs), 6):
        drawn.choice(DAMAGES)(path, drawn)
        tally.add("healed")
    done = w2s_inside("train", *words, code=None)
    tally.wrong += [] if done.returncode == 0 else [done.stderr]
    tally.wrong += [f"not made again: {key}" for key, made in whole.items() if artifacts(outputs).get(key) != made]
    tally.lost += [name for name in finished_stages(source) if name not in finished_stages(outputs)]
    tally.close()


def figures_of(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The figures that a command printed."""
    return set(FIGURE.findall(done.stdout))


@pytest.mark.parametrize(
    "damage",
    [damage if damage in (flip, edit) else pytest.param(damage, marks=pytest.mark.faults) for damage in DAMAGES],
)
def test_no_figure_of_changed_results_or_tables_is_shown(
    w2s_inside: Run, ran: list[str], tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    tally, drawn = Tally("damage", f"results.json, joined tables: {damage.__name__}"), random.Random(damage.__name__)
    (results,) = tmp_path.glob("outputs/runs/*/*/results.json")
    figures, before = figures_of(w2s_inside("table")), results.read_bytes()
    for _ in range(10):
        damage(results, drawn)
        tally.add()
        done = w2s_inside("table", code=None)
        if not figures_of(done) <= figures or done.returncode not in (0, 2) or "bug" in done.stderr:
            tally.wrong.append(f"table: {done.stdout} {done.stderr}")
        if entries_of(results) != json.loads(before)["entries"] and not done.stderr:
            tally.wrong.append(f"nothing is said of {results.read_bytes()[:300]!r}")
        results.write_bytes(before)
    damage(results, drawn)
    w2s_inside("train", *ran)
    tally.wrong += [] if results.read_bytes() == before else ["the same command does not write the same results again"]
    tally.close()


@pytest.mark.parametrize("name", [CONFIG, PLAN])
@pytest.mark.parametrize(
    "damage",
    [damage if damage in (flip, edit) else pytest.param(damage, marks=pytest.mark.faults) for damage in DAMAGES],
)
def test_no_setting_and_no_stage_is_read_from_a_changed_configuration_or_plan(
    w2s_inside: Run, ran: list[str], tmp_path: Path, damage: Callable[[Path, random.Random], None], name: str
) -> None:
    tally, drawn = Tally("damage", f"{name}: {damage.__name__}"), random.Random(f"{damage.__name__} {name}")
    store = Store(tmp_path / "outputs")
    (path,) = tmp_path.glob(f"outputs/runs/*/*/{name}")
    whole = read_run(path.parent, store)
    assert whole.configs
    assert whole.plan
    figures, before = figures_of(w2s_inside("table")), path.read_bytes()
    for number in range(10 if damage in (delete, swap) else 100):
        damage(path, drawn)
        tally.add()
        found = read_run(path.parent, store)
        if found.configs not in ([], whole.configs) or found.plan not in ([], whole.plan):
            tally.wrong.append(f"read: {path.read_bytes()[:300]!r}")
        if not (found.configs and found.plan) and not found.missing:
            tally.wrong.append(f"nothing is said of {path.read_bytes()[:300]!r}")
        if number < 4:
            for words in (["table"], ["diff", "latest", "latest"], ["report", "latest"], ["gc"]):
                done = w2s_inside(*words, code=None)
                tally.wrong += (
                    [f"{words}: {done.stdout} {done.stderr}"]
                    if done.returncode not in (0, 2) or "bug" in done.stderr
                    else []
                )
                if words == ["table"] and not figures_of(done) <= figures:
                    tally.wrong.append(f"{words}: {done.stdout}")
        path.write_bytes(before)
    damage(path, drawn)
    w2s_inside("train", *ran)
    again = read_run(path.parent, store)  # the states of its plan are those of the second time
    if again.configs != whole.configs or again.by_key.keys() != whole.by_key.keys() or again.missing:
        tally.wrong.append("the same command does not write the file again")
    tally.close()


def entries_of(path: Path) -> Any:
    """The entries of a results.json; None if it is no JSON."""
    content = files.read_json(path)
    return content.get("entries") if isinstance(content, dict) else None


class InParts(Sharding):
    """Weights that lie in parts on processes, of which there is one: a checkpoint then has the files of several."""

    def span(self, name: str) -> Span | None:
        rows = len(dict(self.model.named_parameters())[name])
        return 0, rows, rows

    def span_of(self, optimized: nn.Parameter) -> Span | None:
        return 0, len(optimized), len(optimized)


@pytest.mark.parametrize("damage", [cut, flip, edit, delete])
def test_a_training_in_parts_never_goes_on_from_damaged_bytes(
    tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    tally, drawn = Tally("damage", f"checkpoints in parts: {damage.__name__}"), random.Random(2)
    model = nn.Linear(8, 8)
    optimizer, ctx = torch.optim.Adam(model.parameters()), context(tmp_path)
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    sharding = InParts(model, ALONE)
    checkpoint.save(ctx, 2, model, optimizer, {"sums": {"loss": 0.25}, "micro_tokens": 8, "total": 4}, None, sharding)
    (folder,) = ctx.work.glob("checkpoint-*")
    names = {"part-0.safetensors", "parts.json", "state.json", "tensors.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    for name in sorted(names):
        path = folder / name
        before = path.read_bytes()
        for _ in range(1 if damage is delete else 10):
            damage(path, drawn)
            tally.add()
            try:
                checkpoint.load(ctx.work, model, optimizer, sharding)
                tally.wrong.append(f"{damage.__name__} {name}: loaded")
            except UserError as error:
                tally.wrong += [] if "remove that folder" in str(error) else [str(error)]
            path.write_bytes(before)
    assert checkpoint.load(ctx.work, model, optimizer, sharding)
    tally.close()


@pytest.mark.parametrize("damage", [cut, flip, edit])
def test_a_training_and_a_pass_over_rows_never_go_on_from_damaged_bytes(
    tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    tally, drawn = Tally("damage", f"checkpoints and shards: {damage.__name__}"), random.Random(1)
    model = nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters())
    ctx = context(tmp_path)
    state = {"sums": {}, "micro_tokens": 8, "total": 4}
    checkpoint.save(ctx, 2, model, optimizer, state)
    (tensors,) = ctx.work.glob("checkpoint-*/tensors.safetensors")
    before = tensors.read_bytes()
    for _ in range(20):
        damage(tensors, drawn)
        tally.add()
        try:
            checkpoint.load(ctx.work, model, optimizer)
            tally.wrong.append(f"{damage.__name__}: loaded")
        except UserError as error:
            tally.wrong += [] if "remove that folder" in str(error) else [str(error)]
        tensors.write_bytes(before)
    assert checkpoint.load(ctx.work, model, optimizer)
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)

    def values() -> np.ndarray:
        return shards.in_shards(6, 2, ctx, "label", lambda start, end: rows[start:end], np.ones(6, int))

    np.testing.assert_array_equal(values(), rows)
    for _ in range(20):
        damage(drawn.choice(sorted(ctx.work.glob("shard-*"))), drawn)
        tally.add()
        tally.wrong += [] if np.array_equal(values(), rows) else [f"{damage.__name__}: a damaged shard was read"]
        tally.lost += [] if len(list(ctx.work.glob("shard-*"))) == 3 else ["a shard was not made again"]
    tally.close()
