"""Damage to the files of a store: it is noticed by the next command, no figure is made of it, and the same command makes the rest right.

* Each file of each result of two small pipelines, for classes and for texts, is cut, has a bit flipped, is deleted, edited, or swapped with
  another file. Two further ones have what these lack: adapters, probes, combined, selected and validated labels, and seeds. Of these one
  file of each name of each kind of stage is damaged. A test asserts that they have all kinds of artifacts between them.
* So are the results, the configuration and the plan of a run, checkpoints and shards (and in test_shapes.py the cache of joined seeds).
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
from w2s_cli.data import artifacts as artifacts_of_data
from w2s_cli.data.artifacts.features import IDS
from w2s_cli.errors import UserError
from w2s_cli.pipeline.kinds import kind_names
from w2s_cli.results.reader import read_run
from w2s_cli.results.runs import CONFIG, PLAN
from w2s_cli.store import files
from w2s_cli.store.context import Context
from w2s_cli.store.ranks import ALONE
from w2s_cli.store.store import Store
from w2s_cli.training import checkpoint, shards
from w2s_cli.training.models.folder import ADAPTER, BASE
from w2s_cli.training.sharding import Sharding, Span

Run = Callable[..., subprocess.CompletedProcess[str]]
Damage = Callable[[Path, random.Random], None]
Pipeline = Callable[[str], tuple[Path, list[str]]]
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
every_damage = pytest.mark.parametrize(
    "damage",
    [damage if damage in (flip, edit) else pytest.param(damage, marks=pytest.mark.faults) for damage in DAMAGES],
)
METHODS = {  # of the further pipelines
    "texts": small_texts.EVERY_KIND,
    "seeds of texts": """own: {kind: generate, model: "${strong}", rows: test}
  graded: {kind: grade, texts: own, rows: test}
  pgr: {kind: evaluate_texts, rows: test, student: graded}""",
    "adapters, probes and seeds": """weak: {kind: finetune, role: weak, model: "${weak}", rows: weak_train, labels: truth}
  fit: {kind: label, model: weak, rows: weak_train}
  boost: {kind: boost, labels: fit, rows: weak_train}
  probe: {kind: finetune, role: weak, model: "${strong}", rows: weak_train, labels: truth, train: {mode: probe, lr: 1e-2, epochs: 2}}
  votes: {kind: label, model: weak, rows: strong_train}
  further: {kind: label, model: probe, rows: strong_train}
  labels: {kind: combine, rows: strong_train, labels: [votes, further], rule: {name: mean_probability, args: {}}}
  chosen: {kind: select, rows: strong_train, labels: labels, rule: {name: confidence, args: {share: 0.5, threshold: null}}}
  student: {kind: finetune, role: student, model: "${strong}", rows: strong_train, labels: chosen}
  own: {kind: label, model: student, rows: strong_train}
  score: {kind: validate, student: own, labels: labels, rows: strong_train}
  weak_test: {kind: label, model: weak, rows: test}
  student_test: {kind: label, model: student, rows: test}
  pgr: {kind: evaluate, weak: weak_test, student: student_test, rows: test}""",
}
PIPELINES = ("classifiers", *METHODS)
# kinds without a stage in a pipeline, whose results are as those of others: labels, a model, metrics
ELSEWHERE = {"exam", "few_shot", "import_labels", "pretrain", "theory", "delta_theory"}


@pytest.fixture
def pipeline(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]
) -> Pipeline:
    """The outputs of the finished run of a pipeline, and its words."""

    def of(name: str) -> tuple[Path, list[str]]:
        tiny: list[str] = request.getfixturevalue("tiny")
        if name == "classifiers":
            return request.getfixturevalue("finished"), tiny

        def make(folder: Path) -> None:
            if "text" in name:
                words = small_texts.words(folder, tiny_models, METHODS[name])
            else:
                mine = small_texts.write_method(folder / "mine", METHODS[name])
                limits = "data.limits={weak_train: 24, strong_train: 24, test: 24}"
                words = [*tiny, "--config-dir", str(mine), "method=small", "train=lora", "train.epochs=1", limits]
            words += ["seeds=2"] if "seeds" in name else []
            done = run_inside(["train", *words], folder, environment())
            assert done.returncode == 0, done.stderr
            (folder / "words.json").write_text(json.dumps(words))

        folder = once(tmp_path_factory, name, make)
        return folder / "outputs", json.loads((folder / "words.json").read_text())

    return of


def result_files(outputs: Path) -> list[Path]:
    """The files of all results, with their manifests."""
    return sorted(path for path in outputs.glob("stages/*/*/result/**/*") if path.is_file() and path.stat().st_size)


def one_of_each(files: list[Path]) -> list[Path]:
    """One file of each name of each kind of stage."""
    return list({(path.parts[path.parts.index("stages") + 1], path.name): path for path in files}.values())


@pytest.mark.faults
def test_the_pipelines_have_all_kinds_of_artifacts(pipeline: Pipeline) -> None:
    stores = [pipeline(name)[0] for name in PIPELINES]
    kinds = {path.name for store in stores for path in store.glob("stages/*")}
    assert kinds | ELSEWHERE == set(kind_names())
    names = {path.name for store in stores for path in result_files(store)}
    of_data = {value for name, value in vars(artifacts_of_data).items() if name.isupper()}
    assert names >= {*of_data, IDS, ADAPTER, BASE, "model.safetensors", "manifest.json"}


@pytest.mark.faults
@pytest.mark.parametrize("name", PIPELINES)
def test_each_damaged_artifact_is_noticed_shown_by_nobody_and_made_again(
    w2s_inside: Run, pipeline: Pipeline, tmp_path: Path, name: str
) -> None:
    (source, words), outputs = pipeline(name), tmp_path / "outputs"
    shutil.copytree(source, outputs, symlinks=True)
    w2s_inside("train", *words)  # the times of the copied files are looked up once
    tally, drawn = Tally("damage", f"results of {name}"), random.Random(5)
    whole = artifacts(outputs)
    figures = {command: figures_of(w2s_inside(command, code=None)) for command in ("table", "ls")}
    damaged = result_files(outputs)
    for number, path in enumerate(one_of_each(damaged) if "seeds" in name else damaged):
        stage, before, times = path.relative_to(outputs).parts[2], path.read_bytes(), path.stat()
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


@every_damage
def test_no_figure_of_changed_results_is_shown(w2s_inside: Run, ran: list[str], tmp_path: Path, damage: Damage) -> None:
    tally, drawn = Tally("damage", f"results.json: {damage.__name__}"), random.Random(damage.__name__)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [CONFIG, PLAN])
@every_damage
def test_no_setting_and_no_stage_is_read_from_a_changed_configuration_or_plan(
    w2s_inside: Run, ran: list[str], tmp_path: Path, damage: Damage, name: str
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
                if done.returncode not in (0, 2) or "bug" in done.stderr:
                    tally.wrong.append(f"{words}: {done.stdout} {done.stderr}")
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


def unrefused(ctx: Context, model: nn.Module, *more: Any) -> list[str]:
    """What is wrong with how a training begins whose checkpoint is damaged: it must refuse it, and say what to do."""
    try:
        checkpoint.load(ctx.work, model, *more)
    except UserError as error:
        return [] if "remove that folder" in str(error) else [str(error)]
    return ["loaded"]


@pytest.mark.parametrize("damage", [cut, flip, edit, delete])
def test_a_training_in_parts_never_goes_on_from_damaged_bytes(tmp_path: Path, damage: Damage) -> None:
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
            tally.wrong += [f"{damage.__name__} {name}: {what}" for what in unrefused(ctx, model, optimizer, sharding)]
            path.write_bytes(before)
    assert checkpoint.load(ctx.work, model, optimizer, sharding)
    tally.close()


@pytest.mark.parametrize("damage", [cut, flip, edit])
def test_a_training_and_a_pass_over_rows_never_go_on_from_damaged_bytes(tmp_path: Path, damage: Damage) -> None:
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
        tally.wrong += [f"{damage.__name__}: {what}" for what in unrefused(ctx, model, optimizer)]
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
