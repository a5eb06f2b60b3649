"""A checkpoint is written without a copy of the state, and takes a twentieth of the time; a cut one leaves the one before."""

import errno
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import environment
from tests.tiny_models import make_model
from tests.unit.training.test_models import context
from w2s_cli.data.artifacts.features import write_features
from w2s_cli.errors import UserError
from w2s_cli.store import files
from w2s_cli.training import checkpoint, loop
from w2s_cli.training.batching import PADDED
from w2s_cli.training.loop import Recipe, make_optimizer
from w2s_cli.training.models.saving import save_model

STATE: dict[str, Any] = {"total": 20, "micro_tokens": 256, "sums": {"loss": 1.0}}


@pytest.mark.parametrize(
    ("state", "evaluated"),
    [
        ({"threads": 1}, False),
        ([], False),
        ({**STATE, "step": "3", "threads": 1}, False),
        ({**STATE, "step": 3, "threads": 1, "sums": {"loss": None}}, False),
        ({**STATE, "step": 3, "threads": 1}, True),
        ({**STATE, "step": 3, "threads": 1, "evaluations": [[1]]}, True),
    ],
)
def test_a_state_of_another_shape_is_told(tmp_path: Path, state: Any, evaluated: bool) -> None:
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, Recipe(epochs=1, lr=0.1))
    ctx = context(tmp_path)
    checkpoint.save(ctx, 3, model, optimizer, STATE)
    assert checkpoint.load(ctx.work, model, optimizer) is not None
    (ctx.work / "checkpoint-000000003" / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match=r"checkpoint-000000003 cannot be read .*state\.json.*remove that folder"):
        checkpoint.load(ctx.work, model, optimizer, evaluated=evaluated)


def test_a_changed_position_is_told_and_a_checkpoint_of_an_older_w2s_is_still_read(tmp_path: Path) -> None:
    model, ctx = nn.Linear(3, 2), context(tmp_path)
    optimizer = make_optimizer(model, Recipe(epochs=1, lr=0.1))
    checkpoint.save(ctx, 3, model, optimizer, STATE)
    path = ctx.work / "checkpoint-000000003" / "state.json"
    state = json.loads(path.read_text())
    for changed in ({"step": 4}, {"sums": {"loss": 2.0}}, {"files": {}}):
        path.write_text(json.dumps({**state, **changed}))
        with pytest.raises(UserError, match=r"\(state.json was changed\)"):
            checkpoint.load(ctx.work, model, optimizer)
    del state["files"]
    older = {**state, "sha256": files.digest(path.with_name("tensors.safetensors"))}
    path.write_text(json.dumps(older))
    assert checkpoint.load(ctx.work, model, optimizer) == older
    path.write_text(json.dumps({**older, "sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"\(tensors.safetensors was changed\)"):
        checkpoint.load(ctx.work, model, optimizer)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full at `size` bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", ["checkpoint", "model", "features"])
def test_a_library_in_rust_that_cannot_write_gives_the_systems_error(tmp_path: Path, what: str) -> None:
    folder, large = tmp_path / "folder", nn.Linear(300, 300)
    optimizer = make_optimizer(large, Recipe(epochs=1, lr=0.1))
    base = make_model(tmp_path / "base", "llama")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    folder.mkdir()
    writing = {
        "checkpoint": lambda: checkpoint.save(context(tmp_path / "run"), 1, large, optimizer, STATE),
        "model": lambda: save_model(model, tokenizer, folder, "card"),
        "features": lambda: write_features(folder, ["a"], np.ones((1, 5000), np.float32)),
    }
    with files_of_at_most(10_000), pytest.raises(OSError, match="large") as raised:
        writing[what]()
    assert raised.value.errno == errno.EFBIG


def test_only_the_newest_checkpoint_is_kept_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = make_optimizer(model, Recipe(epochs=1, lr=0.1))
    ctx = context(tmp_path)
    for step in (1, 2, 10):
        checkpoint.save(ctx, step, model, optimizer, STATE)
    assert [p.name for p in ctx.work.iterdir()] == ["checkpoint-000000010"]
    weights = ctx.work / "checkpoint-000000010" / "tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(UserError, match="checkpoint-000000010"):
        checkpoint.load(ctx.work, model, optimizer)


def test_a_full_disk_ends_the_training_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ctx = nn.Linear(3, 2), context(tmp_path)
    optimizer = make_optimizer(model, Recipe(epochs=1, lr=0.1))
    checkpoint.save(ctx, 1, model, optimizer, STATE)
    monkeypatch.setenv("W2S_FAULT", "checkpoint.tensors-written=enospc")
    with pytest.raises(OSError, match="space"):
        checkpoint.save(ctx, 2, model, optimizer, STATE)
    state = checkpoint.load(ctx.work, model, optimizer)
    assert state is not None
    assert state["step"] == 1


WRITTEN = """
import json, sys
from pathlib import Path
import torch
from w2s_cli.store import memory
from w2s_cli.store.context import Context
from w2s_cli.training import checkpoint
model = torch.nn.Linear(4096, 4096)  # 64 MiB
optimizer = torch.optim.Adam(model.parameters(), fused=True)
model(torch.zeros(1, 4096)).sum().backward()
optimizer.step()
ctx = Context(Path(sys.argv[1]), Path(sys.argv[1], "work"), Path(sys.argv[1], "result"))
unknown = memory.restart_peak()
before = memory.peak_above(-1)
checkpoint.save(ctx, 1, model, optimizer, {"total": 2})
print(json.dumps([unknown, before, memory.peak_above(-1)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is Linux's")
def test_writing_takes_no_copy_of_the_state(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WRITTEN, str(tmp_path)]
    said = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True).stdout
    unknown, before, peak = json.loads(said)
    size = (tmp_path / "work" / "checkpoint-000000001" / "tensors.safetensors").stat().st_size >> 20
    assert size >= 3 * 64  # weights and two moments
    assert unknown == 0
    assert peak - before < size / 4  # a copy is at least `size`


def test_the_next_checkpoint_waits_nineteen_times_as_long_as_the_last_one_took(tmp_path: Path) -> None:
    ctx = context(tmp_path, checkpoint_seconds=1e-9)
    ctx.checkpoint_written(1000.0)
    assert not ctx.checkpoint_due()
    ctx.checkpoint_written(0.0)
    assert ctx.checkpoint_due()
    ctx.execution["checkpoint_seconds"] = 1000
    assert not ctx.checkpoint_due()
    ctx.checkpoint_written(1000.0)
    ctx.execution["checkpoint_seconds"] = 0  # whatever writing takes
    assert ctx.checkpoint_due()


def test_a_training_writes_for_a_twentieth_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    clock = {"now": began}
    written: list[float] = []

    def slowly(*_: object) -> None:
        clock["now"] += 8.0
        written.append(clock["now"])

    def step(pieces: list[list[int]], progress: float) -> Iterator[loop.Contribution]:
        clock["now"] += 1.0
        value = model.weight.sum()
        yield loop.Contribution(value, {"loss": value.detach()})

    model = nn.Linear(2, 1)
    monkeypatch.setattr("time.monotonic", lambda: clock["now"])
    monkeypatch.setattr(checkpoint, "save_file", slowly)
    monkeypatch.setattr(checkpoint, "sync", lambda path: None)
    monkeypatch.setattr(checkpoint, "digest", lambda path: "0" * 64)
    objective = loop.Objective(np.ones(1, dtype=int), PADDED, step)
    loop.train(model, objective, lambda epoch: [[0]], Recipe(epochs=1000, lr=0.1), context(tmp_path), "finetune")
    assert written[0] - began < 40  # how long writing takes is not known before
    assert 5 <= len(written) <= 7
    assert 8.0 * len(written[1:]) <= 0.05 * (clock["now"] - written[0])
    assert torch.isfinite(model.weight).all()
