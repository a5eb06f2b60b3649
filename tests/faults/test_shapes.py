"""Each JSON file of a store with each wrong content of tests/json_shapes.py: one message, the right exit code, nothing removed.

* The store has a finished run, a stage that is running, one that failed, one in the queue of a batch system, the hold of a command, a
  checkpoint, a search, and the caches. The quick suite takes five contents, the faults all.
* What no command of that test reads is given to its reader: `w2s table` for the joined seeds, a worker or a training for its own files, and
  the process of a tracker for its position.
"""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.command.test_hostile_store import store as store
from tests.faults.counting import Tally
from tests.faults.test_damage import DAMAGES, InParts, unrefused
from tests.json_shapes import WRONG
from tests.stage_files import context
from tests.stored_results import real_runs as real_runs
from tests.unit.run.test_trackers import write_tracker
from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.errors import UserError
from w2s_cli.run import tracker_process
from w2s_cli.run.runner import Runner
from w2s_cli.search.record import Study, Trial, read_record, write_record
from w2s_cli.store.context import Context
from w2s_cli.store.files import SEAL, digest, read_json, write_json, write_sealed
from w2s_cli.store.places import StoreError
from w2s_cli.store.ranks import ALONE
from w2s_cli.training import checkpoint, memory, token_cache
from w2s_cli.training.tokens import TokenRows, joined

Run = Callable[..., subprocess.CompletedProcess[str]]
JSON = {  # name → pattern in the store of a file that commands read
    "stage.json": "stages/label/weak-*-test-*/stage.json",
    "stage.json of a comparison": "stages/evaluate/*/stage.json",
    "record.json": "stages/label/weak-*-test-*/record.json",
    "record.json of a comparison": "stages/evaluate/*/record.json",
    "manifest.json": "stages/evaluate/*/result/manifest.json",
    "manifest.json of a model": "stages/finetune/weak-*/result/manifest.json",
    "failed.json": "stages/label/weak-*-test-*/failed.json",
    "owner.json": "stages/label/weak-*-test-*/owner.json",
    "progress.json": "stages/label/weak-*-test-*/progress.json",
    "state.json": "stages/label/weak-*-test-*/work/checkpoint-*/state.json",
    "a job of the queue": ".queue/*.json",
    "hold-*.json": "runs/*/*/hold-*.json",
    "plan.json": "runs/*/*/plan.json",
    "results.json": "runs/*/*/results.json",
    "a reproduction": "reproductions/*.json",
    "digests.json": ".cache/digests.json",
    "code.json": ".cache/code.json",
    "revisions.json": ".cache/revisions.json",
    "search.json": "runs/*/*/search.json",
}
READ_BY = {"search.json": [["status"]]}  # commands that are always run with the file, as few read it
PLANNED_EVERY = 6  # contents of one that w2s plan reads: it takes half a second
some = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.faults), 12])


@pytest.fixture
def busy(store: Path) -> Path:
    """The store of tests/command/test_hostile_store.py, whose label stage has no record and is in a queue."""
    stage = next(store.glob("stages/label/weak-*-test-*"))
    (stage / "progress.json").write_text(json.dumps({"event": "progress", "step": 1, "total": 2, "at": 1.0}))
    (store / ".queue").mkdir()
    job = {"launcher": "slurm", "job": "1", "submitted": 1.0, "log": "x", "inputs": []}
    (store / ".queue" / f"{stage.name[-12:]}.json").write_text(json.dumps(job))
    trials = [Trial({"strong.lr": 1e-4}, "scored", 0.75, [0.75]), Trial({"strong.lr": 1e-3})]
    write_record(next(store.glob("runs/*/*")), {"space": []}, [Study([], trials)])  # that of a search lies in sweeps/
    return store


def part(every: int) -> str:
    """The end of the name of a part's counts."""
    return "" if every == 1 else ", a part"


def names(folder: Path) -> set[str]:
    """Every file and folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@some
@pytest.mark.parametrize("name", JSON)
def test_wrong_json_is_answered_by_one_message_and_removes_nothing(
    w2s_inside: Run, ran: list[str], busy: Path, name: str, every: int
) -> None:
    tally, drawn = Tally("shapes", name + part(every)), random.Random(name)
    path = next(busy.glob(JSON[name]))
    stage = path.relative_to(busy).parts[2] if path.is_relative_to(busy / "stages") else ""
    evaluate = next(busy.glob("stages/evaluate/*-*")).name
    whole, before = path.read_bytes(), names(busy)
    for number, content in enumerate(WRONG[::every]):
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        commands = [["ls"], ["status"], ["table"], ["gc"], ["why", evaluate], ["reproduce", "--summary"]]
        commands = READ_BY.get(name, []) + drawn.sample(commands, 3)
        commands += [["show", stage]] if stage else [["diff", "latest", "latest"]]
        commands += [["plan", *ran]] if number % PLANNED_EVERY == 0 else []
        for words in commands:
            done = w2s_inside(*words, code=None)
            said = done.stdout + done.stderr
            if done.returncode not in (0, 2) or "Traceback" in said or "bug in w2s" in said or "\x1b" in said:
                tally.wrong.append(f"{content[:60]!r}: {words}: {done.returncode} {done.stderr[-400:]}")
            if done.returncode == 2 and len(done.stderr.strip().splitlines()) != 1:
                tally.wrong.append(f"{content[:60]!r}: {words}: several messages: {done.stderr}")
        tally.lost += sorted(before - names(busy) - {".cache"})
        path.write_bytes(whole)
    tally.close()


@pytest.mark.slow
@some
@pytest.mark.parametrize("name", ["stage.json", "record.json", "result/manifest.json", "failed.json", "owner.json"])
def test_a_worker_answers_wrong_json_with_a_message_or_makes_the_stage_again(busy: Path, name: str, every: int) -> None:
    tally = Tally("shapes", f"{name}, read by a worker{part(every)}")
    (folder,) = busy.glob("stages/evaluate/*-*")
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    expected = json.loads((folder / "result" / "manifest.json").read_text())
    for content in WRONG[::every]:
        (folder / name).write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        events: list[dict[str, object]] = []
        outcome = Runner(events.append).run(folder)
        made = json.loads((folder / "result" / "manifest.json").read_text()) if outcome == "done" else None
        if outcome == "failed" and not events[-1]["user"]:
            tally.wrong.append(f"{content[:60]!r}: {events[-1]}")
        if outcome not in ("done", "cached", "failed") or made not in (None, expected):
            tally.wrong.append(f"{content[:60]!r}: {outcome}")
        for path, written in whole.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written)
    tally.close()


def test_no_wrong_state_of_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    tally, model = Tally("shapes", "state.json, read by a training"), nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    ctx = context(tmp_path)
    checkpoint.save(ctx, 2, model, optimizer, {"sums": {}, "micro_tokens": 8, "total": 4})
    (state,) = ctx.work.glob("checkpoint-*/state.json")
    for content in WRONG:
        state.write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        try:
            checkpoint.load(ctx.work, model, optimizer)
            tally.wrong.append(f"{content[:60]!r} was loaded")
        except (UserError, StoreError) as error:
            tally.wrong += [] if "remove that folder" in str(error) else [str(error)]
        tally.lost += [] if (state.parent / "tensors.safetensors").exists() else ["the tensors"]
    tally.close()


def test_no_wrong_parts_of_a_checkpoint_are_loaded(tmp_path: Path) -> None:
    tally, model = Tally("shapes", "parts.json, read by a training"), nn.Linear(2, 2)
    optimizer, ctx = torch.optim.Adam(model.parameters()), context(tmp_path)
    sharding = InParts(model, ALONE)
    checkpoint.save(ctx, 2, model, optimizer, {"sums": {}, "micro_tokens": 8, "total": 4}, None, sharding)
    (parts,) = ctx.work.glob("checkpoint-*/parts.json")
    state, before = read_json(parts.parent / "state.json"), names(parts.parent)
    for content in WRONG:
        parts.write_text(content, encoding="utf-8", errors="surrogatepass")
        digests = {**state["files"], parts.name: digest(parts)}  # else the digest alone would tell
        sealed = {name: value for name, value in state.items() if name != SEAL} | {"files": digests}
        write_sealed(parts.parent / "state.json", sealed)
        tally.add()
        tally.wrong += [f"{content[:60]!r}: {what}" for what in unrefused(ctx, model, optimizer, sharding)]
        tally.lost += sorted(before - names(parts.parent))
    tally.close()


def test_no_wrong_note_of_micro_batches_changes_them(tmp_path: Path) -> None:
    tally = Tally("shapes", "micro_batches.json, read by a training")
    ctx = context(tmp_path, micro_tokens=512)
    note = ctx.work / memory.NOTED
    write_json(note, {"micro_tokens": 64})
    assert memory.Budget(ctx, "micro_tokens").tokens == 64
    for content in WRONG:
        note.write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        if (tokens := memory.Budget(ctx, "micro_tokens").tokens) != 512:
            tally.wrong.append(f"{content[:60]!r}: {tokens} tokens")
        tally.lost += [] if note.exists() else [content[:60]]
    tally.close()


def test_token_rows_with_a_wrong_index_are_made_again(tmp_path: Path) -> None:
    tally = Tally("shapes", "entry.json of token rows, read by a training")
    rows = Rows(tmp_path / "rows", ["a", "b"], ["one", "two"], np.zeros(2, np.int64), ["no", "yes"], None)
    ctx, made = Context(tmp_path, tmp_path, tmp_path, cache=tmp_path / "cache"), list[bool]()
    (tmp_path / "model").mkdir()

    def make() -> TokenRows:
        made.append(True)
        return joined([np.array([1, 2], np.int32), np.array([3], np.int32)], 0)

    def read() -> list[list[int]]:
        return [ids.tolist() for ids in token_cache.shared(ctx, tmp_path / "model", rows, ["right"], make).ids]

    assert read() == read() == [[1, 2], [3]]
    assert len(made) == 1
    (index,) = tmp_path.glob("cache/tokens/*/entry.json")
    whole, before = index.read_bytes(), names(tmp_path)
    for number, content in enumerate(WRONG, start=2):
        index.write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        if read() != [[1, 2], [3]] or len(made) != number or index.read_bytes() != whole:
            tally.wrong.append(f"{content[:60]!r}: made {len(made)} times")
        tally.lost += sorted(before - names(tmp_path))
    tally.close()


def test_a_search_with_a_wrong_record_begins_with_no_trial(tmp_path: Path) -> None:
    tally = Tally("shapes", "search.json, read by a search")
    identity: dict[str, Any] = {"space": []}
    write_record(tmp_path, identity, [Study(["loss=xent"], [Trial({})])])
    assert read_record(tmp_path, identity, [], [["loss=xent"]]) == [Study(["loss=xent"], [Trial({})])]
    for content in WRONG:
        (tmp_path / "search.json").write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        if (studies := read_record(tmp_path, identity, [], [["loss=xent"]])) != [Study(["loss=xent"])]:
            tally.wrong.append(f"{content[:60]!r}: {studies}")
        tally.lost += [] if (tmp_path / "search.json").exists() else [content[:60]]
    tally.close()


@some
def test_joined_seeds_of_a_wrong_or_damaged_cache_are_computed_again(
    w2s_inside: Run, real_runs: Path, tmp_path: Path, every: int
) -> None:
    tally = Tally("shapes", f"joined seeds of .cache/tables, read by a table{part(every)}")
    shutil.copytree(real_runs, tmp_path, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "outputs" / ".cache" / "tables", ignore_errors=True)
    shown = w2s_inside("table")
    (cached,) = tmp_path.glob("outputs/.cache/tables/*.json")
    whole, before = cached.read_bytes(), names(tmp_path / "outputs")

    def is_shown_again(of: Tally, what: str) -> None:
        of.add()
        done = w2s_inside("table", code=None)
        if (done.returncode, done.stdout, done.stderr) != (0, shown.stdout, shown.stderr):
            of.wrong.append(f"{what}: {done.returncode}: {done.stdout[-400:]} {done.stderr[-400:]}")
        of.lost += sorted(before - names(tmp_path / "outputs"))

    for content in WRONG[::every]:
        cached.write_text(content, encoding="utf-8", errors="surrogatepass")
        is_shown_again(tally, repr(content[:60]))
        tally.wrong += [] if cached.read_bytes() == whole else [f"{content[:60]!r} stays"]
    tally.close()
    damaged, drawn = Tally("damage", f"joined seeds of .cache/tables{part(every)}"), random.Random(every)
    for damage in DAMAGES * (10 if every == 1 else 1):
        damage(cached, drawn)
        is_shown_again(damaged, damage.__name__)
        cached.write_bytes(whole)
    damaged.close()


def test_a_tracker_with_a_wrong_position_shows_the_stage_from_its_beginning(tmp_path: Path) -> None:
    tally, folder = Tally("shapes", "position of a tracker, read by its process"), tmp_path / "trackers" / "own"
    stage = {"id": "abc", "name": "weak-abc", "kind": "finetune", "group": "a-run", "tags": [], "config": {}}
    job = {"stage": stage, "folder": str(folder), "folders": [str(write_tracker(tmp_path / "mine"))]}
    position, got = folder / "positions" / "abc.json", folder / "abc.jsonl"

    def shown() -> list[object]:
        """What the tracker gets of a stage with two steps, whose worker sends both."""
        got.unlink(missing_ok=True)
        run = tracker_process.Run("own", job, lambda answer: None)
        for step in (1, 2):
            run.log({"step": step, "loss": 0.5})
        run.end({"loss": 0.5})
        return [json.loads(line)[0] for line in got.read_text().splitlines()] if got.exists() else []

    assert shown() == ["start", 1, 2, "end"]
    assert shown() == []  # the run has its final metrics
    whole = position.read_bytes()
    for content in WRONG:
        position.write_text(content, encoding="utf-8", errors="surrogatepass")
        tally.add()
        try:
            if (told := shown()) != ["start", 1, 2, "end"] or position.read_bytes() != whole:
                tally.wrong.append(f"{content[:60]!r}: {told}")
        except Exception as error:  # the stage would have no tracker
            tally.wrong.append(f"{content[:60]!r}: {type(error).__name__}: {error}")
    tally.close()
