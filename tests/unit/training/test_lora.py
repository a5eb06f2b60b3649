"""Adapters: on every linear layer of the body by default, never on the head; their scale, their targets and their dropout."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig

from tests.tiny_models import FAMILIES, make_model
from tests.unit.training.test_models import CPU, context, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import finetune
from w2s_cli.training.models import classifier, lora
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.tokens import open_tokenizer

LLAMA_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def settings(**changed: Any) -> dict[str, Any]:
    return {**params()["lora"], **changed}


def opened(folder: Path, family: str = "llama", **fields: Any) -> Any:
    """A classifier of three classes with a new head, in train mode."""
    base = make_model(folder, family, **fields)
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    return classifier.open_base(base, tokenizer, ["a", "b", "c"], 0, CPU, {}, 48)


def trainable(model: Any) -> dict[str, int]:
    """Name → number of values of each trainable parameter."""
    return {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_all_seven_linear_layers_of_a_llama_are_adapted_and_the_head_is_trained_in_full(tmp_path: Path) -> None:
    width, keys, inner, rank = 32, 16, 64, 4
    model = opened(tmp_path, num_key_value_heads=1)
    lora.add(model, settings(r=rank), 0)
    shapes = [
        (width, width),
        (width, keys),
        (width, keys),
        (width, width),
        (width, inner),
        (width, inner),
        (inner, width),
    ]
    adapters = 2 * sum(rank * (inputs + outputs) for inputs, outputs in shapes)  # two layers
    found = trainable(model)
    assert sum(found.values()) == adapters + 3 * width
    assert {name.split(".")[-4] for name in found if "lora_" in name} == set(LLAMA_LINEAR)
    assert [name for name in found if "lora_" not in name] == ["score.weight"]


def test_llama_3_8b_at_rank_8_has_21_million_parameters_in_adapters() -> None:
    """EleutherAI/w2s, w2s/model.py: DEFAULT_LORA_MODULES are the seven projections, LoraConfig's rank is 8."""
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        vocab_size=128256, pad_token_id=0,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
        lora.add(model, settings(r=8), 0)
    adapters = sum(count for name, count in trainable(model).items() if "lora_" in name)
    assert adapters == 32 * 8 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)) == 20_971_520


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_of_the_body_of_any_family_is_adapted(tmp_path: Path, family: str) -> None:
    from transformers.pytorch_utils import Conv1D

    model = opened(tmp_path, family)
    linear = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear | Conv1D)}
    lora.add(model, settings(), 0)
    adapted = {name.removesuffix(".lora_A.default.weight") for name in trainable(model) if "lora_A" in name}
    heads = {name for name in linear if name.split(".")[0] in ("score", "classifier", "pooler") or ".pooler." in name}
    assert adapted == linear - heads
    assert heads


@pytest.mark.parametrize(("rslora", "scale"), [(False, 32 / 32), (True, 32 / 32**0.5)])
def test_the_update_is_scaled_by_alpha_over_r_or_over_its_root(tmp_path: Path, rslora: bool, scale: float) -> None:
    model = opened(tmp_path)
    before = model.model.layers[1].mlp.up_proj.weight.detach().clone()
    tuner = lora.add(model, settings(r=32, alpha=32, rslora=rslora), 0)
    layer = model.model.layers[1].mlp.up_proj
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    update = layer.lora_B["default"].weight.detach() @ layer.lora_A["default"].weight.detach()
    merged = lora.merge(tuner).model.layers[1].mlp.up_proj.weight.detach()
    torch.testing.assert_close(merged - before, scale * update, atol=1e-4, rtol=1e-4)
    assert scale == (pytest.approx(5.657, abs=1e-3) if rslora else 1)


def test_targets_name_the_adapted_layers_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    model = opened(tmp_path / "one")
    lora.add(model, settings(targets=["q_proj", "mlp.up_proj"]), 0)
    assert {name.split(".")[-4] for name in trainable(model) if "lora_" in name} == {"q_proj", "up_proj"}
    with pytest.raises(
        UserError, match=r"train\.lora\.targets: gpt2 has no linear layer q_proj\..* Known: c_attn, c_fc, c_proj"
    ):
        lora.add(opened(tmp_path / "two", "gpt2"), settings(targets=["c_fc", "q_proj"]), 0)
    with pytest.raises(UserError, match="no linear layer score"):
        lora.add(opened(tmp_path / "three"), settings(targets=["score"]), 0)


@pytest.mark.parametrize("loss", ["xent", "logconf"])
def test_dropout_acts_in_training_only_and_its_draws_are_those_of_the_seed(tmp_path: Path, loss: str) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")

    def trained(name: str, **changed: Any) -> tuple[dict[str, Any], bytes]:
        ctx = context(tmp_path / name, model_path=str(base), micro_tokens=64)
        torch.manual_seed(len(name))  # the state of another process
        given = {"labels": "hard", "loss": {"name": loss, "args": {}}, "mode": "lora", **changed}
        metrics = finetune.run(params(**given), {"rows": rows}, ctx)
        assert ctx.measured["rows"] == "packed"
        return metrics, (ctx.result / "model" / "adapter_model.safetensors").read_bytes()

    drops = settings(dropout=0.5)
    none, one, again = trained("none"), trained("one", lora=drops), trained("again", lora=drops)
    assert one == again != none
    assert trained("seed", lora=drops, seed=1) != one


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "opt", "gpt_neox"])
def test_the_output_layer_of_a_language_model_has_no_adapter(tmp_path: Path, family: str) -> None:
    model = open_language_model(make_model(tmp_path, family), CPU, {}, 48)
    words = model.get_output_embeddings()
    lora.add(model, settings(), 0)
    assert model.get_output_embeddings() is words  # an adapted layer is another module
    assert not words.weight.requires_grad
    assert all(".lora_" in name for name in trainable(model))
