"""Linear layers that are opened in bf16: the numbers are those of weights in fp32, which autocast rounds for every product."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from tests.tiny_models import ENCODERS, config_value, in_bf16, make_model
from tests.unit.training.test_models import CPU, TEXTS, context, labelled, params, write_rows
from w2s_cli.data.artifacts.features import read_features
from w2s_cli.stages import features, finetune, label
from w2s_cli.training.device import autocast
from w2s_cli.training.models import bf16, classifier, lora
from w2s_cli.training.models.forward_pass import logits
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.tokens import open_tokenizer

META = torch.device("meta")
CLASSIFIERS = ("gpt2", "qwen2", "llama", "opt", "gpt_neox", "bert", "deberta-v2", "fnet", "phi3", "bloom", "gemma2", "gemma3", "olmo2",
               "smollm3", "gpt_oss", "ctrl", "modernbert-decoder", "mpnet")  # fmt: skip
WRITERS = ("gpt2", "qwen2", "llama", "opt", "phi3", "gemma3_text", "gemma4", "olmo3", "gpt_oss", "ctrl")
IDS = torch.arange(5, 41).reshape(3, 12)
MASK = torch.ones_like(IDS).index_put((torch.tensor([1]), torch.tensor([11])), torch.tensor(0))


def checkpoint(folder: Path, family: str, stored: str, **fields: Any) -> Path:
    base = make_model(folder, family, **fields)
    return in_bf16(base) if stored == "bf16" else base


def narrow(model: Any) -> set[str]:
    return {name for name, value in model.named_parameters() if value.dtype == torch.bfloat16}


def opened_classifier(base: Path, kept: bf16.Kept, device: torch.device = CPU) -> Any:
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    return classifier.open_base(base, tokenizer, ["a", "b", "c"], 3, device, {}, 48, kept=kept).eval()


@pytest.mark.parametrize("stored", ["fp32", "bf16"])
@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifier_gives_the_same_bits_and_draws_the_same_head(tmp_path: Path, family: str, stored: str) -> None:
    base = checkpoint(tmp_path, family, stored)
    seen = []
    for kept in ("fp32", "bf16", "stored"):
        model = opened_classifier(base, kept)
        drawn = torch.get_rng_state()
        if classifier.is_causal(model):  # its head is zeros
            torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            seen.append((logits(model, IDS, MASK, "bf16"), drawn, narrow(model), logits(model, IDS, MASK, "fp32")))
    (plain, plain_drawn, none, plain_fp32), *others = seen
    assert plain.std() > 0
    assert not none
    for given, drawn, _, _ in others:
        assert torch.equal(given, plain)
        assert torch.equal(drawn, plain_drawn)
    read, frozen = others[0][2], others[1][2]
    assert read
    assert all(isinstance(model.get_submodule(name.removesuffix(".weight")), torch.nn.Linear | Conv1D) for name in read)
    assert not any(lora.in_head(name) for name in read)
    # a .bin (opt) does not tell its types before it is read
    assert frozen == (read if stored == "bf16" and family != "opt" else set())
    assert torch.equal(others[1][3], plain_fp32), "what is stored in bf16 loses nothing, in a pass in fp32 either"


@pytest.mark.parametrize("stored", ["fp32", "bf16"])
@pytest.mark.parametrize("family", WRITERS)
def test_a_language_model_gives_the_same_bits(tmp_path: Path, family: str, stored: str) -> None:
    base = checkpoint(tmp_path, family, stored)
    seen = []
    for kept in ("fp32", "bf16"):
        model = open_language_model(base, CPU, {}, 48, kept=kept).eval()
        with torch.inference_mode(), autocast(CPU, "bf16"):
            seen.append(model(input_ids=IDS, attention_mask=MASK).logits)
    assert narrow(model)
    assert model.get_output_embeddings().weight.dtype == torch.float32
    assert torch.equal(*seen)


def results(
    folder: Path, base: Path, rows: Path, setting: dict[str, Any], upstream: Path | None = None
) -> dict[str, Any]:
    """What a training on `base`, or on the result `upstream` of another one, leaves: metrics, weights, labels, features."""
    made = {"rows": rows} if upstream is None else {"rows": rows, "model": upstream}
    given = params(**setting, **({} if upstream is None else {"model": None}))
    trained, reading = context(folder / "trained", model_path=str(base)), {"base_path": str(base)}
    metrics = finetune.run(given, made, trained)
    inputs = {"rows": rows, "model": trained.result}
    label.run(given, inputs, context(folder / "labels", **reading))
    weights = {path.name: path.read_bytes() for path in (trained.result / "model").glob("*.safetensors")}
    left = {"metrics": metrics, "weights": weights, "labels": labelled(folder / "labels").tolist()}
    assert np.std(left["labels"]) > 0
    if config_value(base, "model_type") not in ENCODERS:
        used = context(folder / "features", **reading)
        features.run(given, inputs, used)
        left["features"] = read_features(used.result, [f"r{number}" for number in range(len(TEXTS))]).tolist()
    return left


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What makes every stage keep all weights in fp32."""

    def keep() -> None:
        monkeypatch.setattr(bf16, "for_reading", lambda precision: "fp32")
        monkeypatch.setattr(bf16, "for_training", lambda given, in_parts: "fp32")

    return keep


LORA = {"mode": "lora", "precision": "bf16"}
NF4 = {"targets": ["q_proj", "up_proj"], "r": 4, "alpha": 8, "rslora": False, "dropout": 0.0, "base": "nf4"}


@pytest.mark.parametrize("stored", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("llama", {"precision": "bf16"}),
        ("llama", LORA),
        ("gpt2", LORA),
        ("bert", LORA),
        ("llama", {**LORA, "head": {"tokens": ["a", "b"], "suffix": "?", "frozen": True}}),
        ("llama", {**LORA, "lora": NF4}),
        ("llama", {**LORA, "lora": NF4, "precision": "fp32"}),
    ],
    ids=["full", "lora", "conv1d", "encoder", "label-tokens", "qlora", "qlora-fp32"],
)
def test_a_stage_writes_the_same_bytes(
    tmp_path: Path, in_fp32: Callable[[], None], family: str, setting: dict[str, Any], stored: str
) -> None:
    if setting.get("lora") == NF4:
        pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    base = checkpoint(tmp_path / "base", family, stored, **({"hidden_size": 64} if family == "llama" else {}))
    rows = write_rows(tmp_path / "rows")
    left = results(tmp_path / "narrow", base, rows, setting)
    in_fp32()
    assert left == results(tmp_path / "wide", base, rows, setting)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_adapters_on_another_stages_model_are_merged_into_the_same_bytes(
    tmp_path: Path, in_fp32: Callable[[], None], mode: str
) -> None:
    base, rows = checkpoint(tmp_path / "base", "llama", "bf16"), write_rows(tmp_path / "rows")
    first = context(tmp_path / "first", model_path=str(base))
    finetune.run(params(**{**LORA, "mode": mode}), {"rows": rows}, first)
    left = results(tmp_path / "narrow", base, rows, LORA, first.result)
    assert [*left["weights"]] == ["model.safetensors"]
    in_fp32()
    assert left == results(tmp_path / "wide", base, rows, LORA, first.result)


def test_a_training_of_adapters_and_its_reader_have_the_layers_in_bf16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would compare fp32 with fp32."""
    base, rows = checkpoint(tmp_path / "base", "llama", "bf16"), write_rows(tmp_path / "rows")
    seen: list[set[str]] = []
    add, finished = lora.add, classifier.open_finished

    def added(*args: Any, **named: Any) -> Any:
        tuner = add(*args, **named)
        seen.append(narrow(tuner.model))
        assert all(value.dtype == torch.float32 for name, value in tuner.model.named_parameters() if "lora_" in name)
        return tuner

    def read(*args: Any, **named: Any) -> Any:
        model = finished(*args, **named)
        seen.append(narrow(model))
        return model

    monkeypatch.setattr(lora, "add", added)
    monkeypatch.setattr(classifier, "open_finished", read)
    results(tmp_path / "out", base, rows, LORA)
    assert [len(names) for names in seen if names] == [14] * len(seen)  # seven layers in each of two blocks
    assert len(seen) >= 3


def test_weights_that_go_to_a_device_by_themselves_keep_their_types_and_an_encoders_head_is_drawn_on_the_host(
    tmp_path: Path,
) -> None:
    """The device meta stands for a GPU: it has no numbers, but the same way."""
    for family in ("llama", "bert", "ctrl"):
        base = make_model(tmp_path / family, family)
        host = opened_classifier(base, "bf16")
        drawn = torch.get_rng_state()
        device = opened_classifier(base, "bf16", META)
        assert family == "llama" or torch.equal(torch.get_rng_state(), drawn)  # its head is zeros
        types = {name: value.dtype for name, value in host.named_parameters()}
        assert {name: value.dtype for name, value in device.named_parameters()} == types
        assert {value.device for value in device.parameters()} == {META}
