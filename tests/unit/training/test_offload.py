"""Moments in the host's memory: the weights are those of a training without it, bit for bit, and a training continues with them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_models import make_model
from tests.unit.training.test_models import context, params, write_rows
from w2s_cli.stages import finetune
from w2s_cli.store.context import Stopped
from w2s_cli.training.loop import Recipe, make_optimizer
from w2s_cli.training.offload import offloaded


def trained(folder: Path, base: Path, rows: Path, *, stop: int = 0, **execution: Any) -> bytes:
    """The weights of a training; `stop`: it is asked to stop that often before it is left alone."""
    ctx = context(folder, model_path=str(base), checkpoint_seconds=0, **execution)
    asked = iter([False] * 3 + [True] * stop)
    ctx.stop_requested = lambda: next(asked, False)
    recipe = params(optimizer="adamw", weight_decay=0.01, max_grad_norm=0.5)
    if stop:
        with pytest.raises(Stopped):
            finetune.run(recipe, {"rows": rows}, ctx)
        return b""
    finetune.run(recipe, {"rows": rows}, ctx)
    return (ctx.result / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_the_weights_are_the_same_bit_for_bit_and_a_stopped_training_continues(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    usual = trained(tmp_path / "usual", base, rows)
    assert trained(tmp_path / "off", base, rows, offload_optimizer=True) == usual
    trained(tmp_path / "stopped", base, rows, stop=1, offload_optimizer=True)
    assert trained(tmp_path / "stopped", base, rows, offload_optimizer=True) == usual


def test_a_weight_without_a_gradient_is_left_alone() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = offloaded(make_optimizer(model, Recipe(epochs=1, lr=0.1)))
    model.weight.grad = torch.ones_like(model.weight)
    before = model.bias.detach().clone()
    optimizer.step()
    assert torch.equal(model.bias, before)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2]
    assert all(value.device.type == "cpu" for value in optimizer.state[model.weight].values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_moments_wait_on_the_host() -> None:
    weights = []
    for wrap in (lambda optimizer: optimizer, offloaded):
        torch.manual_seed(0)
        model = torch.nn.Linear(64, 64, device="cuda")
        optimizer = wrap(make_optimizer(model, Recipe(epochs=1, lr=0.1)))
        for _ in range(3):
            model(torch.ones(4, 64, device="cuda")).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)
    assert optimizer.state[model.weight]["exp_avg"].is_pinned()
