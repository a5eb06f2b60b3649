"""A snapshot holds the state of its step, however late it is written."""

import threading
from pathlib import Path

import torch
from torch import nn

from tests.unit.training.test_models import context
from w2s_cli.store.files import read_json
from w2s_cli.training.checkpoint import Writer


def test_what_the_loop_adds_after_a_snapshot_is_not_in_it(tmp_path: Path) -> None:
    model, ctx, disk = nn.Linear(2, 1), context(tmp_path), threading.Event()
    optimizer = torch.optim.Adam(model.parameters())
    sums = {"loss": 1.0}
    with Writer(ctx) as writer:
        writer._thread.submit(disk.wait)  # a slow disk: the snapshot is written after the next update
        writer.save(3, model, optimizer, {"sums": sums, "total": 9})
        sums["loss"] += 5.0
        disk.set()
    state = read_json(ctx.work / "checkpoint-000000003" / "state.json")
    assert state is not None
    assert state["sums"] == {"loss": 1.0}
