"""Adapters are kept as adapters: a few KB here, opened everywhere as the plain model that merging them gives, bit for bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.tiny_models import FAMILIES, make_model
from tests.unit.training.test_models import CPU, context, labelled, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import finetune, label, tune
from w2s_cli.training.models import adapters, classifier, lora
from w2s_cli.training.models.folder import incomplete, kept_adapters, unusable
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.models.opening import weights_format
from w2s_cli.training.models.saving import merged_model

TEXT = {"objective": {"name": "text", "args": {}}, "chat_template": None}


def trained(folder: Path, base: Path, rows: Path, **changed: Any) -> Path:
    """The result of a training with adapters on the model in `base`."""
    ctx = context(folder, model_path=str(base), base_path=str(base))
    finetune.run(params(mode="lora", **changed), {"rows": rows}, ctx)
    return ctx.result


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "gemma3"])
def test_labels_by_kept_adapters_are_those_by_merged_weights_bit_for_bit(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, rows = make_model(tmp_path / "base", family), write_rows(tmp_path / "rows")
    kept = trained(tmp_path / "kept", base, rows)
    monkeypatch.setattr(adapters, "save", lambda *_: None)  # as before: the merged weights are saved
    whole = trained(tmp_path / "whole", base, rows)
    assert kept_adapters(kept / "model")
    assert not kept_adapters(whole / "model")
    assert size_of(kept / "model") < size_of(whole / "model")
    for name, result in (("a", kept), ("b", whole)):
        label.run(params(), {"rows": rows, "model": result}, context(tmp_path / name, base_path=str(base)))
    assert np.array_equal(labelled(tmp_path / "a"), labelled(tmp_path / "b"))
    out = merged_model(kept / "model", tmp_path / "out", {"base_path": str(base)})
    exported, expected = (
        AutoModelForSequenceClassification.from_pretrained(folder).state_dict() for folder in (out, whole / "model")
    )
    assert exported.keys() == expected.keys()
    assert all(torch.equal(exported[name], expected[name]) for name in expected)
    assert incomplete(out) is None
    assert unusable(out, code=False) is None
    assert merged_model(out, tmp_path / "not", {}) == out


def test_a_training_on_a_model_with_kept_adapters_starts_from_the_merged_one_and_saves_it_whole(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    kept = trained(tmp_path / "kept", base, rows)
    whole = merged_model(kept / "model", tmp_path / "whole" / "model", {"base_path": str(base)}).parent
    weights = []
    for name, result in (("a", kept), ("b", whole)):
        ctx = context(tmp_path / name, base_path=str(base))
        finetune.run(params(mode="lora", seed=3, model=None), {"rows": rows, "model": result}, ctx)
        assert not kept_adapters(ctx.result / "model")
        weights.append((ctx.result / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_the_adapters_of_a_language_model_are_opened_as_one(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    ctx = context(tmp_path / "tuned", model_path=str(base), base_path=str(base))
    tune.run(params(mode="lora", **TEXT), {"rows": rows}, ctx)
    folder = ctx.result / "model"
    assert kept_adapters(folder)
    assert weights_format(folder) == "safetensors"
    opened = open_language_model(folder, CPU, {"base_path": str(base)}, 48)
    out = merged_model(folder, tmp_path / "out", {"base_path": str(base)})
    plain = AutoModelForCausalLM.from_pretrained(out)
    before = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.tensor([[5, 9, 200, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(opened(ids).logits, plain(ids).logits, atol=1e-6, rtol=0)
        assert float((plain(ids).logits - before(ids).logits).abs().max()) > 1e-3
    assert all(weight.requires_grad for weight in opened.parameters())


def test_peft_reads_the_adapters_on_the_plain_base(tmp_path: Path) -> None:
    from peft import PeftModel

    base, rows = make_model(tmp_path / "base", "gpt2"), write_rows(tmp_path / "rows")
    kept = trained(tmp_path / "kept", base, rows) / "model"
    said = json.loads((kept / "adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["task_type"]) == (4, 8, "SEQ_CLS")
    opened = classifier.open_finished(kept, CPU, {"base_path": str(base)}, 48)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, pad_token_id=256)
    plain = PeftModel.from_pretrained(plain, str(kept)).eval()
    ids = torch.tensor([[5, 9, 200, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(plain(ids).logits, opened(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_frozen_head_of_label_tokens_is_kept_too(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    head = {"tokens": ["n", "y"], "suffix": "\nA:", "frozen": True}
    kept = trained(tmp_path / "kept", base, rows, head=head) / "model"
    words = load_file(base / "model.safetensors")["lm_head.weight"]
    stored = load_file(kept / "adapter_model.safetensors")["base_model.model.score.weight"]
    assert torch.equal(stored, words[[ord("n") - 33, ord("y") - 33]])


def break_names(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({f"x{name}": value for name, value in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "base.json").write_text("[]"), r"base\.json is damaged"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\0" * 9), "cut short or damaged"),
        (break_names, "do not fit their base"),
    ],
    ids=["base", "cut", "names"],
)
def test_damaged_adapters_are_refused(tmp_path: Path, damage: Any, said: str) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    kept = trained(tmp_path / "kept", base, rows) / "model"
    damage(kept)
    with pytest.raises(UserError, match=said):
        classifier.open_finished(kept, CPU, {"base_path": str(base)}, 48)


def test_adapters_without_their_base_are_refused(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    kept = trained(tmp_path / "kept", base, rows) / "model"
    with pytest.raises(UserError, match="does not say where that model is"):
        classifier.open_finished(kept, CPU, {}, 48)
    other = make_model(tmp_path / "other", "llama", hidden_size=64)
    with pytest.raises(UserError, match="cannot be loaded"):
        classifier.open_finished(kept, CPU, {"base_path": str(other)}, 48)
    shutil.rmtree(base)
    with pytest.raises(UserError, match=r"has no config\.json"):
        classifier.open_finished(kept, CPU, {"base_path": str(base)}, 48)
    assert "w2s export" in (unusable(kept, code=False) or "")


def test_lora_settings_of_a_result_are_those_of_the_training(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    settings = {"targets": ["q_proj"], "r": 2, "alpha": 4, "rslora": True, "dropout": 0.1}
    kept = trained(tmp_path / "kept", base, rows, lora=settings) / "model"
    assert adapters.base_of(kept)["lora"] == settings
    names = {name.split(".")[-3] for name in load_file(kept / "adapter_model.safetensors") if "lora_" in name}
    assert names == {"q_proj"}
    assert lora.in_head("score.weight")
