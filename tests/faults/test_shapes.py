"""Each JSON file of a store with each wrong content of tests/json_shapes.py: one message, the right exit code, nothing removed.

The store has a finished run, a stage that is running, one that failed, one in the queue of a batch system, the hold of a running command, a
checkpoint, and all caches. The quick suite takes four contents, the faults all.
"""

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.command.test_hostile_store import store as store
from tests.faults.counting import Tally
from tests.json_shapes import WRONG
from tests.stage_files import context
from w2s_cli.errors import UserError
from w2s_cli.run.runner import Runner
from w2s_cli.store.places import StoreError
from w2s_cli.training import checkpoint

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
}
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
        commands = drawn.sample(commands, 3) + ([["show", stage]] if stage else [["diff", "latest", "latest"]])
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
