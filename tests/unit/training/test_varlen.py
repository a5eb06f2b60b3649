"""Packed rows on an NVIDIA GPU: what torch's kernel is asked for, with a stand-in of its documented meaning; and when it is not used."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen as kernels

from tests.unit.training.test_packed import LENGTHS, opened, some_rows
from w2s_cli.training.attention import packed, varlen
from w2s_cli.training.device import autocast

CPU = torch.device("cpu")


def stand_in(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """`varlen_attn` as torch documents it: [tokens, heads, dim] bf16, rows by cumulative positions, (-1, 0) is causal."""
    assert query.dtype == key.dtype == value.dtype == torch.bfloat16
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert (int(cu_seq_q[-1]), int(cu_seq_k[-1])) == (len(query), len(key))  # else what lies behind is not set
    assert (int(cu_seq_q.diff().max()), int(cu_seq_k.diff().max())) == (max_q, max_k)
    assert enable_gqa == (query.shape[1] != key.shape[1])
    rows = []
    for row in range(len(cu_seq_q) - 1):
        q, k, v = (
            part[at[row] : at[row + 1]].transpose(0, 1)
            for part, at in ((query, cu_seq_q), (key, cu_seq_k), (value, cu_seq_k))
        )
        causal = window_size == (-1, 0)
        assert causal or window_size == (-1, -1)
        found = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal, scale=scale, enable_gqa=enable_gqa
        )
        rows.append(found.transpose(0, 1))
    return torch.cat(rows)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models on the CPU are packed as on a GPU, with the stand-in for the kernel."""

    def within(model: Any, lengths: list[int], tails: list[int] | None = None, branches: None = None) -> Any:
        where = varlen.spans(lengths, CPU, last=tails is not None)
        return lambda query, key, value, scale: varlen.attention(query, key, value, scale, where)

    monkeypatch.setattr(packed, "_within", within)
    monkeypatch.setattr(
        packed, "MOST_TAILS", 0.0
    )  # a GPU's last layer has the queries of all tokens, or of each row's last
    monkeypatch.setattr(packed, "layout", lambda model: varlen.LAYOUT)
    monkeypatch.setattr(kernels, "varlen_attn", stand_in)


def test_the_stand_in_is_called_as_torchs_kernel_can_be() -> None:
    known, ours = (inspect.signature(function).parameters for function in (kernels.varlen_attn, stand_in))
    assert list(known)[:7] == list(ours)[:7]
    assert set(ours) <= set(known)


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])  # qwen2: fewer heads of keys
def test_states_and_gradients_are_those_of_padded_rows(tmp_path: Path, family: str) -> None:
    model = opened(tmp_path, family).train()
    ids, mask = some_rows()
    gradients = []
    with autocast(CPU, "bf16"):
        states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        for expected, found in (
            (states[mask.bool()], packed.all_states(model, ids, mask)),
            (states[torch.arange(len(ids)), mask.sum(1) - 1], packed.last_states(model, ids, mask)),
        ):
            assert (found - expected).norm() < 0.02 * expected.norm()
            for value in (expected, found):
                model.zero_grad()
                value.float().square().mean().backward(retain_graph=True)
                gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for known, seen in (gradients[:2], gradients[2:]):
        assert (seen - known).norm() < 0.05 * known.norm()
    assert varlen.LAYOUT.room(torch.tensor(LENGTHS).numpy()) == sum(LENGTHS)  # nothing is computed but the rows


@pytest.mark.usefixtures("on_gpu")
def test_a_torch_whose_kernel_is_not_told_of_shared_keys_packs_rows_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(query: Tensor, key: Tensor, *at: Any, scale: float, window_size: tuple[int, int]) -> Tensor:
        shared = query.shape[1] != key.shape[1]
        return stand_in(query, key, *at, scale=scale, window_size=window_size, enable_gqa=shared)

    monkeypatch.setattr(kernels, "varlen_attn", older)
    assert packed._difference(opened(tmp_path, "qwen2").train(), "bf16") is None


@pytest.mark.usefixtures("on_gpu")
def test_a_model_is_tried_before_its_rows_are_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(tmp_path, "qwen2").train()
    assert packed._difference(model, "bf16") is None
    assert all(weight.grad is None for weight in model.parameters())

    def across_rows(query: Tensor, key: Tensor, value: Tensor, *_: Any, scale: float, **__: Any) -> Tensor:
        whole = torch.tensor([0, len(query)], dtype=torch.int32), torch.tensor([0, len(key)], dtype=torch.int32)
        named = {"scale": scale, "window_size": (-1, 0), "enable_gqa": True}
        return stand_in(query, key, value, *whole, len(query), len(key), **named)  # type: ignore[arg-type]

    def broken(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("no kernel image is available for execution on the device")

    class Forward(torch.autograd.Function):
        """Right forward, none backward."""

        @staticmethod
        def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, run: Any) -> Tensor:  # type: ignore[override]
            found: Tensor = run(query, key, value)
            return found

        @staticmethod
        def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
            raise RuntimeError("the backward kernel of this head size is not there")

    def forward_only(
        query: Tensor, key: Tensor, value: Tensor, *at: Any, enable_gqa: bool = False, **named: Any
    ) -> Tensor:
        def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return stand_in(q, k, v, *at, enable_gqa=enable_gqa, **named)

        found: Tensor = Forward.apply(query, key, value, run)  # type: ignore[no-untyped-call]
        return found

    for kernel, reason in (
        (across_rows, "packed states differ"),
        (broken, "no kernel image"),
        (forward_only, "backward kernel"),
    ):
        monkeypatch.setattr(kernels, "varlen_attn", kernel)
        assert reason in (packed._difference(model, "bf16") or "")
    with torch.no_grad():
        assert packed._difference(model, "bf16") is None  # nobody asks for gradients


@pytest.mark.parametrize(("device", "precision"), [("cuda", "fp32"), ("cuda", "tf32"), ("mps", "bf16")])
def test_other_devices_and_precisions_are_padded(device: str, precision: str) -> None:
    model = SimpleNamespace(device=torch.device(device))
    assert not packed.usable(model, precision)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
def test_the_kernel_itself_agrees_with_padded_rows(tmp_path: Path, family: str) -> None:
    assert packed.usable(opened(tmp_path, family).to("cuda").train(), "bf16")
