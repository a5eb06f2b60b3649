"""Packed rows: the same numbers as padded ones, no padding, and who is padded all the same."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tiny_models import ENCODERS, FAMILIES, make_model
from tests.unit.training.test_models import context, params, write_rows
from w2s_cli.stages import finetune, label
from w2s_cli.training.attention import packed
from w2s_cli.training.attention.cpu import LAYOUT, LONG, attention, runs
from w2s_cli.training.batching import Layout, micro_batches
from w2s_cli.training.device import autocast
from w2s_cli.training.models import classifier, forward_pass
from w2s_cli.training.models.checkpointed import checkpoint_layers
from w2s_cli.training.tokens import open_tokenizer

CPU = torch.device("cpu")
LENGTHS = [30, 20, 20, 9, 1]  # a piece: sorted


def opened(folder: Path, family: str) -> Any:
    base = make_model(folder, family)
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    return classifier.open_base(base, tokenizer, ["a", "b"], 0, CPU, {}, 48)


def some_rows() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 200, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return ids, mask


def gradients(model: Any, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.square().sum().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("read", ["last", "tails", "all"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ENCODERS])
def test_states_and_gradients_are_those_of_padded_rows(tmp_path: Path, family: str, read: str) -> None:
    model = opened(tmp_path, family).train()
    assert packed.usable(model, "fp32")
    model.double()  # so that what differs is not rounding
    ids, mask = some_rows()
    states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    if read == "last":
        expected, found = states[torch.arange(len(ids)), mask.sum(1) - 1], packed.last_states(model, ids, mask)
    elif read == "tails":
        tails = [-(-length // 3) for length in LENGTHS]
        assert sum(tails) < packed.MOST_TAILS * sum(LENGTHS)
        expected = torch.cat(
            [row[length - tail : length] for row, length, tail in zip(states, LENGTHS, tails, strict=True)]
        )
        found = packed.tail_states(model, ids, mask, tails)
    else:
        expected, found = states[mask.bool()], packed.all_states(model, ids, mask)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)  # rotations are fp32 all the same
    known, seen = gradients(model, expected), gradients(model, found)
    assert known.keys() == seen.keys()
    for name in known:
        rounding = (
            2e-4 if family in ("qwen2", "llama") else 2e-6
        )  # their norms compute in fp32, and a row of one word is scaled up
        torch.testing.assert_close(seen[name], known[name], atol=rounding, rtol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "tails"),
    [
        *[
            ([300, 70, 70, 65, 3, 1], tails)
            for tails in (None, [1] * 6, [20, 1, 70, 17, 3, 1], [300, 70, 70, 65, 3, 1])
        ],
        *[([600, 257, 256], tails) for tails in (None, [1] * 3, [290, 5, 256])],
        *[([LONG + 30, 500, 20, 20], tails) for tails in (None, [1] * 4)],
    ],
)
def test_attention_is_softmax_within_each_row(lengths: list[int], tails: list[int] | None) -> None:
    random = np.random.default_rng(0)
    total = LAYOUT.room(np.array(lengths))
    queries = LAYOUT.room(np.array(tails)) if tails else total
    q, k, v = random.normal(size=(4, queries, 8)), *random.normal(size=(2, 2, total, 8))  # two heads of q to one of k
    tensors = [torch.from_numpy(x[None].astype(np.float32)).requires_grad_() for x in (q, k, v)]
    out = attention(*tensors, 0.3, runs(lengths, torch.float32, tails))  # type: ignore[call-arg]
    start = query = 0
    for length, tail in zip(lengths, tails or lengths, strict=True):
        at = slice(query, query + tail)
        for head in range(4):
            keys, values = k[head // 2, start : start + length], v[head // 2, start : start + length]
            scores = 0.3 * q[head, at] @ keys.T
            scores[np.triu(np.ones(scores.shape, bool), 1 + length - tail)] = -np.inf
            share = np.exp(scores - scores.max(1, keepdims=True))
            expected = share / share.sum(1, keepdims=True) @ values
            np.testing.assert_allclose(out[0, at, head].detach(), expected, atol=1e-5)
        start, query = start + length, query + tail
    out[:, :query].square().sum().backward()  # type: ignore[no-untyped-call]
    for tensor, end in zip(tensors, (query, start, start), strict=True):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert not tensor.grad[:, :, end:].any()  # nothing from behind the last row


def test_gradients_of_long_rows_that_go_through_in_blocks_are_those_of_softmax_attention() -> None:
    lengths = [600, 257, 256, 70, 3]
    total = LAYOUT.room(np.array(lengths))
    generator = torch.Generator().manual_seed(0)
    q, k, v, slope = torch.randn(4, 1, 2, total, 8, dtype=torch.float64, generator=generator)
    slope = slope.transpose(1, 2)[:, : sum(lengths)]  # [1, tokens, heads, dim]
    ours = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    plain = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    layout = runs(lengths, torch.float64)
    assert [[block.keys for block in run.blocks] for run in layout][:3] == [[608, 512, 256], [272], [256]]
    attention(*ours, 0.3, layout)[:, : sum(lengths)].backward(slope)
    rows = [torch.split(tensor[0, :, : sum(lengths)], lengths, 1) for tensor in plain]
    expected = []
    for one_q, one_k, one_v in zip(*rows, strict=True):
        hidden = torch.ones(one_q.shape[1], one_q.shape[1]).triu(1).bool()
        scores = (0.3 * one_q @ one_k.transpose(1, 2)).masked_fill(hidden, float("-inf"))
        expected.append((scores.softmax(-1) @ one_v).transpose(0, 1))
    torch.cat(expected).unsqueeze(0).backward(slope)  # type: ignore[no-untyped-call]
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-10, rtol=0)


def test_under_autocast_packed_rows_are_as_near_to_fp32_as_padded_ones(tmp_path: Path) -> None:
    model = opened(tmp_path, "qwen2")
    ids, mask = some_rows()
    with autocast(CPU, "bf16"):
        assert packed.usable(model, "bf16")  # whoever asks first: it is tried in fp32
    with torch.no_grad():
        with autocast(CPU, "bf16"):
            found = packed.last_states(model, ids, mask).float()
            model._w2s_packed = {False: "as a model that cannot"}
            padded = forward_pass.last_token_features(model, ids, mask, "bf16")
        exact = forward_pass.last_token_features(model, ids, mask, "fp32")
    assert (found - exact).abs().mean() < 1.5 * (padded - exact).abs().mean()


@pytest.mark.parametrize("family", ENCODERS)
def test_encoders_are_padded(tmp_path: Path, family: str) -> None:
    assert not packed.usable(opened(tmp_path, family), "fp32")


def test_a_sliding_window_and_attention_outside_the_interface_are_padded() -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 99}
    window = {"intermediate_size": 64, "num_key_value_heads": 2, "sliding_window": 8}
    for family, fields in (("mistral", window), ("bloom", {}), ("gptj", {"rotary_dim": 8})):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **small, **fields)).eval()
        assert not packed.usable(model, "fp32"), family


def test_checkpointing_by_transformers_alone_is_padded_and_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = opened(tmp_path, "gpt2")
    before = model.config._attn_implementation
    assert packed.usable(model, "fp32")
    assert (model.config._attn_implementation, "forward" in vars(model.transformer.h[-1])) == (before, False)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert not packed.usable(model, "fp32")


def test_rounding_of_single_values_keeps_no_model_from_packing(tmp_path: Path) -> None:
    model = opened(tmp_path, "llama")
    with torch.no_grad():
        model.base_model.norm.weight.mul_(1e4)  # as in trained models: some values are far larger than others
    assert packed.why_padded(model, "fp32") is None


def test_a_model_whose_body_learns_nothing_is_packed(tmp_path: Path) -> None:
    model = opened(tmp_path, "llama")
    model.base_model.requires_grad_(False)
    assert any(weight.requires_grad for weight in model.parameters())  # the head
    assert packed.why_padded(model, "fp32") is None


@pytest.mark.parametrize("together", [packed.TOGETHER, 3000])  # of all weights, or of a few after each other
@pytest.mark.parametrize("checkpointing", [False, True])
def test_wrong_gradients_are_noticed_and_a_lack_of_memory_is_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int, checkpointing: bool
) -> None:
    monkeypatch.setattr(packed, "TOGETHER", together)
    model, within = opened(tmp_path, "llama").train(), packed._within
    if checkpointing:
        checkpoint_layers(model)
    assert packed.why_padded(model, "fp32") is None
    vars(model).pop(packed._TRIED)

    def without_values(*args: Any, **named: Any) -> packed.Attend:
        attend = within(*args, **named)
        return lambda query, key, value, scale: attend(query, key, value.detach(), scale)

    def starved(*_: Any, **__: Any) -> packed.Attend:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(packed, "_within", without_values)
    with torch.no_grad():
        assert packed.why_padded(model, "fp32") is None
    assert "packed gradients differ" in (packed.why_padded(model, "fp32") or "")
    monkeypatch.setattr(packed, "_within", starved)
    with pytest.raises(RuntimeError, match="primitive"):
        packed.why_padded(opened(tmp_path, "llama"), "fp32")


@pytest.mark.parametrize(
    ("family", "options", "told"),
    [
        ("llama", {}, "packed"),
        ("llama", {"gradient_checkpointing": True}, "packed"),
        ("bert", {}, "padded: bert is not causal"),
    ],
)
def test_a_training_and_its_predictions_tell_whether_rows_are_packed_and_why_not(
    tmp_path: Path, family: str, options: dict[str, bool], told: str
) -> None:
    base, rows = make_model(tmp_path / "base", family), write_rows(tmp_path / "rows")
    trained, labels = context(tmp_path / "trained", model_path=str(base), **options), context(tmp_path / "labels")
    finetune.run(params(epochs=1.0), {"rows": rows}, trained)
    label.run(params(), {"rows": rows, "model": trained.result}, labels)
    assert trained.measured["rows"] == told
    assert f"rows {told}" in (trained.folder / "log.txt").read_text()
    assert labels.measured["rows"] == ("packed" if family == "llama" else told)


def test_show_says_whether_rows_were_packed(
    ran: list[str], tmp_path: Path, w2s_inside: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (key, *_) = [path.parent.name[-12:] for path in (tmp_path / "outputs").glob("stages/finetune/*/record.json")]
    assert "measured.rows: packed" in w2s_inside("show", key).stdout


def test_pieces_are_full_and_padding_is_below_a_twentieth() -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(5.27, 0.6, 480), 20, 512).astype(int)
    layouts = {"packed": LAYOUT, "padded": Layout()}
    for name, layout in layouts.items():
        pieces = [p for at in range(0, 480, 32) for p in micro_batches(range(at, at + 32), lengths, 8192, layout)]
        assert sorted(row for piece in pieces for row in piece) == list(range(480))
        share = sum(layout.room(lengths[piece]) for piece in pieces) / lengths.sum()
        assert share <= 1.055, name
        assert all(lengths[piece].sum() <= 2048 for piece in pieces if layout.packed)
