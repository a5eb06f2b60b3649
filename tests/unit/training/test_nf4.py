"""A base in 4 bits and moments in 8: trained with bitsandbytes, read without it, and the same function."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.tiny_models import make_model
from tests.unit.training.test_models import CPU, context, labelled, params, write_rows
from w2s_cli.stages import finetune, label
from w2s_cli.training.loop import Recipe, make_optimizer
from w2s_cli.training.models import classifier, lora, nf4
from w2s_cli.training.models.saving import merged_model

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
QLORA = {"targets": "all-linear", "r": 4, "alpha": 8, "rslora": False, "dropout": 0.0, "base": "nf4"}


@pytest.mark.parametrize("shape", [(64, 64), (48, 128), (1, 64)])
def test_rounding_is_that_of_bitsandbytes_bit_for_bit(shape: tuple[int, int]) -> None:
    from bitsandbytes import functional

    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    weight.view(-1)[:3] = torch.tensor([0.0, 1.0, -1.0])
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=False)
    assert torch.equal(nf4.rounded(weight), functional.dequantize_4bit(packed, state).view(shape))
    assert torch.equal(nf4.rounded(torch.zeros(shape)), torch.zeros(shape))


def test_the_body_is_in_four_bits_and_everything_else_is_not(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama", hidden_size=64, intermediate_size=96, num_attention_heads=2)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    expected = AutoModelForSequenceClassification.from_pretrained(base)
    expected.score.load_state_dict(model.score.state_dict())
    nf4.round_base(expected)
    lora.add(model, QLORA, 0, CPU)
    kinds = {
        name: part.weight.dtype
        for name, part in model.named_modules()
        if hasattr(part, "weight") and "lora" not in name
    }
    in_four = {name for name, dtype in kinds.items() if dtype == torch.uint8}
    assert {name.removesuffix(".base_layer") for name in in_four} == {
        name
        for name in lora.linear_layers(expected)
        if "down_proj" not in name  # whose rows, of 96, are no whole blocks
    }
    assert model.score.weight.dtype == torch.float32
    ids = torch.tensor([[5, 9, 200, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(ids).logits, expected.eval()(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen2", "opt"])
def test_labels_come_from_the_model_that_was_trained(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`saved_difference` compares it with plain transformers, the rounded base and peft; then nothing may need bitsandbytes."""
    wide = {"word_embed_proj_dim": 64} if family == "opt" else {}
    base = make_model(tmp_path / "base", family, hidden_size=64, **wide)
    rows = write_rows(tmp_path / "rows")
    ctx = context(tmp_path / "trained", model_path=str(base))
    metrics = finetune.run(params(mode="lora", lora=QLORA, epochs=4.0), {"rows": rows}, ctx)
    assert ctx.measured["saved_difference"] < 1e-4
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    label.run(params(), {"rows": rows, "model": ctx.result}, context(tmp_path / "labels", base_path=str(base)))
    plain = AutoModelForSequenceClassification.from_pretrained(
        merged_model(ctx.result / "model", tmp_path / "out", {"base_path": str(base)})
    ).eval()
    opened = classifier.open_finished(ctx.result / "model", CPU, {"base_path": str(base)}, 48)
    ids = torch.tensor([[5, 9, 200, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(plain(ids).logits, opened(ids).logits, atol=1e-6, rtol=0)
    assert np.isfinite(labelled(tmp_path / "labels")).all()
    assert metrics["steps"] == 12


def trained(folder: Path, base: Path, rows: Path, **changed: Any) -> bytes:
    ctx = context(folder, model_path=str(base), checkpoint_seconds=0)
    finetune.run(params(optimizer="adamw8bit", weight_decay=0.01, **changed), {"rows": rows}, ctx)
    return (ctx.result / "model" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_moments_in_eight_bits_train_resume_and_repeat(tmp_path: Path) -> None:
    from w2s_cli.store.context import Stopped

    base, rows = (
        make_model(tmp_path / "base", "llama", hidden_size=64, intermediate_size=128),
        write_rows(tmp_path / "rows"),
    )
    model = AutoModelForSequenceClassification.from_pretrained(base)
    optimizer = make_optimizer(model, Recipe(epochs=1.0, lr=1e-3, optimizer="adamw8bit"))
    model(torch.tensor([[5, 9, 200, 3]])).logits.sum().backward()
    optimizer.step()
    small = optimizer.state[model.model.layers[0].mlp.up_proj.weight]
    assert small["state1"].dtype == small["state2"].dtype == torch.uint8
    once = trained(tmp_path / "once", base, rows)
    assert trained(tmp_path / "again", base, rows) == once
    stops = iter([False, False, True])
    ctx = context(tmp_path / "stopped", model_path=str(base), checkpoint_seconds=0)
    ctx.stop_requested = lambda: next(stops, False)
    with pytest.raises(Stopped):
        finetune.run(params(optimizer="adamw8bit", weight_decay=0.01), {"rows": rows}, ctx)
    assert trained(tmp_path / "stopped", base, rows) == once
