"""Gradient checkpointing with packed rows: the same states and gradients, bit for bit, and less memory between the two passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny_models import make_model
from tests.unit.training.test_models import CPU, context, params, write_rows
from w2s_cli.stages import finetune
from w2s_cli.training.attention import packed
from w2s_cli.training.batching import pad
from w2s_cli.training.models.checkpointed import checkpoint_layers
from w2s_cli.training.models.language_model import open_language_model

ROWS = [[5, 9, 200, 3, 17, 80, 41, 1, 2, 3], [7, 256, 4]]
FAMILIES = ("llama", "gpt2", "qwen2", "qwen3", "opt", "gpt_neox")


def opened(folder: Path, family: str) -> Any:
    depth = {"n_layer": 6} if family == "gpt2" else {"num_hidden_layers": 6}
    return open_language_model(make_model(folder, family, **depth), CPU, {}, 48).train()


def passed(model: Any, *, last: bool) -> tuple[Tensor, dict[str, Tensor], int]:
    """States, gradients, and the bytes that waited for the backward pass."""
    waiting: dict[int, int] = {}

    def kept(tensor: Tensor) -> Tensor:
        waiting[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids, mask = pad(ROWS, 0)
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        states = packed.last_states(model, ids, mask) if last else packed.all_states(model, ids, mask)
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    size = sum(count for place, count in waiting.items() if place not in weights)
    (states * torch.arange(states.numel()).sin().view_as(states)).sum().backward()
    slopes = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return states.detach(), slopes, size


@pytest.mark.parametrize("last", [True, False], ids=["last tokens", "all tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_same_states_and_gradients_in_less_memory(tmp_path: Path, family: str, last: bool) -> None:
    plain, checkpointed = opened(tmp_path / "a", family), opened(tmp_path / "b", family)
    checkpoint_layers(checkpointed)
    assert packed.why_padded(checkpointed, "fp32") is None
    before = checkpointed.config._attn_implementation
    one, other = passed(plain, last=last), passed(checkpointed, last=last)
    assert torch.equal(one[0], other[0])
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])
    assert other[2] < 0.5 * one[2]
    assert checkpointed.config._attn_implementation == before


def test_a_training_with_it_packs_its_rows_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    weights = []
    for checkpointing in (False, True):
        ctx = context(tmp_path / str(checkpointing), model_path=str(base), gradient_checkpointing=checkpointing)
        finetune.run(params(), {"rows": rows}, ctx)
        assert ctx.measured["rows"] == "packed"
        weights.append((ctx.result / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
