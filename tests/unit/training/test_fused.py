"""Faster forms of a model's parts: the numbers and gradients of the plain ones, and the plain ones wherever a formula differs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama

from tests.unit.training.test_packed import opened, some_rows
from w2s_cli.training.attention import packed, rotation
from w2s_cli.training.device import autocast
from w2s_cli.training.models import fused

CPU = torch.device("cpu")
TYPES = (torch.float64, torch.float32)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


def same(ours: Callable[[], Tensor], plain: Callable[[], Tensor], *leaves: Tensor) -> None:
    """Both give the same numbers, and the same gradients of `leaves`."""
    rounding = 1e-11 if leaves[0].dtype == torch.float64 else 1e-5
    out, expected = ours(), plain()
    assert out.dtype == expected.dtype
    torch.testing.assert_close(out, expected, atol=rounding, rtol=rounding)
    slope = random(*out.shape, dtype=out.dtype)
    slopes, others = (torch.autograd.grad(value, leaves, slope) for value in (out, expected))
    for one, other in zip(slopes, others, strict=True):
        torch.testing.assert_close(one, other, atol=10 * rounding, rtol=rounding)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("piece", [7, 1 << 18])
def test_gelu_is_torchs_tanh_gelu(dtype: torch.dtype, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "PIECE", piece)
    x = (6 * random(2, 5, 8, dtype=dtype)).requires_grad_()
    same(lambda: fused.TanhGELU()(x), lambda: gelu(x, approximate="tanh"), x)
    with torch.no_grad():
        torch.testing.assert_close(fused.TanhGELU()(x), gelu(x, approximate="tanh"))


def test_gelu_in_bf16_rounds_once_forward() -> None:
    x = (3 * random(64, 8)).bfloat16()
    exact = gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(fused.TanhGELU()(x).double(), exact, atol=1e-6, rtol=2**-8)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_norm_is_the_plain_formula(dtype: torch.dtype) -> None:
    norm = modeling_llama.LlamaRMSNorm(8, eps=1e-3)
    norm.weight.data = random(8, dtype=dtype)
    x = random(2, 5, 8, dtype=dtype).requires_grad_()

    def plain() -> Tensor:  # transformers' own computes in fp32
        return x * (x.square().mean(-1, keepdim=True) + 1e-3).rsqrt() * norm.weight

    same(lambda: fused._norm(norm, x), plain, x, norm.weight)


def test_a_norm_of_another_formula_stays_as_it_is() -> None:
    class MeanRMSNorm(modeling_llama.LlamaRMSNorm):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean(-1, keepdim=True))  # type: ignore[no-any-return]

    gemma = GemmaRMSNorm(8)
    gemma.weight.data = random(8, dtype=torch.float32)
    assert not fused._is_rms_norm(gemma)  # (1 + weight)
    assert not fused._is_rms_norm(MeanRMSNorm(8))
    assert not fused._is_rms_norm(nn.LayerNorm(8))
    assert fused._is_rms_norm(modeling_llama.LlamaRMSNorm(8))


@pytest.mark.parametrize("dtype", TYPES)
def test_a_rotation_is_the_plain_formula(dtype: torch.dtype) -> None:
    plain = modeling_llama.apply_rotary_pos_emb
    q, k = (random(2, heads, 5, 8, dtype=dtype).requires_grad_() for heads in (4, 2))
    cos, sin = random(2, 5, 8, dtype=dtype), random(2, 5, 8, dtype=dtype).cos()
    ours = rotation._instead_of(plain)
    assert rotation._is_usual(plain)
    same(lambda: ours(q, k, cos, sin)[0], lambda: plain(q, k, cos, sin)[0], q)
    same(lambda: ours(q, k, cos, sin)[1], lambda: plain(q, k, cos, sin)[1], k)


def test_a_rotation_of_part_of_a_head_or_along_another_axis_is_left_to_the_function_itself() -> None:
    calls: list[int] = []

    def plain(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        calls.append(unsqueeze_dim)
        return q, k

    rotate = rotation._instead_of(plain)
    q = k = random(1, 2, 5, 8)
    rotate(q, k, random(1, 5, 4), random(1, 5, 4))
    rotate(q, k, random(1, 5, 8), random(1, 5, 8), unsqueeze_dim=2)
    rotate(q, k, random(1, 5, 8), random(1, 5, 8))
    assert calls == [1, 2]
    assert not rotation._is_usual(plain)
    assert not rotation._is_usual(len)
    assert not rotation._is_usual(None)


def test_functions_are_exchanged_within_the_block_only(tmp_path: Path) -> None:
    before = modeling_llama.apply_rotary_pos_emb, modeling_gpt_neox.apply_rotary_pos_emb
    layer = opened(tmp_path, "llama").model.layers[0]
    with pytest.raises(AssertionError), rotation.faster(layer):
        assert modeling_llama.apply_rotary_pos_emb is before[0]  # it is not
    assert (modeling_llama.apply_rotary_pos_emb, modeling_gpt_neox.apply_rotary_pos_emb) == before


def test_under_autocast_norms_of_layers_give_the_type_of_matmuls_and_the_last_norm_keeps_fp32(tmp_path: Path) -> None:
    model = opened(tmp_path, "qwen2")
    types = {}
    for name in ("layers.0.input_layernorm", "norm"):
        model.model.get_submodule(name).register_forward_hook(
            lambda *args, name=name: types.__setitem__(name, args[2].dtype)
        )
    with torch.no_grad(), autocast(CPU, "bf16"):
        packed.last_states(model, *some_rows())
    assert types == {"layers.0.input_layernorm": torch.bfloat16, "norm": torch.float32}


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen3", "phi", "olmo2"])
def test_a_model_with_faster_parts_gives_the_numbers_and_gradients_of_the_plain_one(family: str) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = AutoConfig.for_model(family, **small, intermediate_size=64, head_dim=16, vocab_size=99, pad_token_id=0)
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config).eval()
    ours = AutoModelForCausalLM.from_config(config).eval()
    ours.load_state_dict(plain.state_dict())
    fused.fuse(ours)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    ids, mask = some_rows()
    states = []
    for model in (plain, ours):
        model.double()
        value = model.base_model(input_ids=ids % 99, attention_mask=mask).last_hidden_state[mask.bool()]
        value.square().sum().backward()
        states.append(value)
    torch.testing.assert_close(states[1], states[0], atol=1e-5, rtol=1e-5)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            assert (one.grad - other.grad).norm() <= 1e-4 * other.grad.norm() + 1e-6
