"""Checkpoints: how long the training waits for one, and how long it takes to continue from it.

A training of all weights of the small model: weights and two moments go to the disk and come back. What comes back must be the same bits.
"""

import shutil
import time

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import learning, shapes
from scripts.gpu_checks.settings import SMALL, NotHere, Settings, Turn

RUNS = {SMALL: Turn(9, 30)}
ROOM = 2.5  # checkpoints on the disk: the new one, the old one, and some room
OF_PARAMETER = 12  # bytes: weight and two moments


def run(settings: Settings, shape: str) -> list[Record]:
    import torch

    from w2s_cli.training import checkpoint, loop

    model = shapes.classifier(settings, shape)
    size = OF_PARAMETER * sum(weight.numel() for weight in model.parameters())
    if shutil.disk_usage(settings.work).free < ROOM * size:
        raise NotHere(
            f"checkpoints of {size / 1e9:.1f} GB need {ROOM * size / 1e9:.0f} GB free in {settings.work.parent}"
        )
    optimizer = loop.make_optimizer(model, loop.Recipe(epochs=1, lr=learning.LR))
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    ctx = learning.context(settings, "checkpoint")
    state = {"sums": {}, "micro_tokens": settings.micro_tokens, "total": 2}
    learning.wait(settings)
    started = time.monotonic()
    checkpoint.save(ctx, 1, model, optimizer, state)
    wrote = time.monotonic() - started
    kept = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    first = optimizer.state_dict()["state"][0]["exp_avg"].clone()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    started = time.monotonic()
    checkpoint.load(ctx.work, model, optimizer)
    learning.wait(settings)
    read = time.monotonic() - started
    same = all(torch.equal(kept[name], weight) for name, weight in model.named_parameters())
    same = same and torch.equal(first, optimizer.state_dict()["state"][0]["exp_avg"])
    part, name = f"checkpoint {shape}", settings.models[shape]
    return [
        record(part, f"{name}: written and synced", [wrote], "s", better="less",
               note=f"{size / 1e9:.2f} GB, {size / wrote / 1e9:.2f} GB/s"),
        record(part, f"{name}: read back", [read], "s", better="less", note=f"{size / read / 1e9:.2f} GB/s"),
        record(part, f"{name}: the same bits come back", [float(same)], "of 1", target=1.0),
    ]  # fmt: skip
