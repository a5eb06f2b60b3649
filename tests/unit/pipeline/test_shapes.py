"""The sizes of a model by its config.json alone: beside published counts, beside transformers' own modules, and in a plan."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from tests.model_shapes import SHAPES
from tests.tiny_hub import tiny_hub
from w2s_cli.paths import configs_folder
from w2s_cli.pipeline.shapes import of_size, read_shape
from w2s_cli.store.files import read_yaml

OLDER = {  # fields of checkpoints before 2025, by the defaults of their config class
    "gpt2": {},
    "opt": {"hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "gpt_neox": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 8, "intermediate_size": 8192},
    "bert": {},
    "deberta-v2": {},
    "llama": {},
    "mistral": {},
    "gemma": {},
    "qwen2": {"num_key_value_heads": 4},
}


def on_meta(model_type: str, fields: dict[str, Any]) -> int:
    """Parameters of transformers' modules, which take no memory."""
    config = AutoConfig.for_model(model_type, **fields)
    masked = model_type in ("bert", "deberta-v2")
    with torch.device("meta"):
        model = (AutoModelForMaskedLM if masked else AutoModelForCausalLM).from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def fields_of(name: str) -> dict[str, Any]:
    """The fields of a config.json as arguments of its class."""
    return {
        field: value
        for field, value in SHAPES[name].config.items()
        if field not in ("model_type", "quantization_config")
    }


@pytest.mark.parametrize("name", SHAPES)
def test_the_count_of_a_large_model_is_the_published_one_and_that_of_its_modules(name: str) -> None:
    shaped = SHAPES[name]
    shape = read_shape(shaped.config)
    assert shape is not None
    assert shape.parameters == pytest.approx(on_meta(shaped.config["model_type"], fields_of(name)), rel=2e-3)
    assert shape.parameters / 1e6 + shaped.beside == pytest.approx(shaped.published, rel=0.01)
    stated = read_yaml((configs_folder() / "model" / f"{name}.yaml").read_text())
    own = shape.parameters / 1e6 + max(0, shaped.beside)
    assert stated["parameters"] == pytest.approx(own, rel=0.01)
    assert stated.get("active_parameters", stated["parameters"]) == pytest.approx(shape.active / 1e6, rel=0.12)


@pytest.mark.parametrize("model_type", OLDER)
def test_the_count_of_an_older_architecture_is_that_of_its_modules(model_type: str) -> None:
    config = AutoConfig.for_model(model_type, **OLDER[model_type])
    for text in (config.to_json_string(use_diff=True), config.to_json_string(use_diff=False)):
        shape = read_shape(
            json.loads(text) if "vocab_size" in text else json.loads(config.to_json_string(use_diff=False))
        )
        assert shape is not None
        assert shape.parameters == pytest.approx(on_meta(model_type, OLDER[model_type]), rel=0.01)


def test_a_mixture_of_experts_sends_a_token_through_the_chosen_ones() -> None:
    """3.8 B of Gemma 4 26B A4B (its model card); of gpt-oss-20b 3.6 B (model card, table 1), which leaves the embedding of 0.58 B out."""
    gemma, oss = (read_shape(SHAPES[name].config) for name in ("gemma-4-26b-a4b", "gpt-oss-20b"))
    assert gemma is not None
    assert oss is not None
    assert gemma.active / 1e9 == pytest.approx(3.8, rel=0.01)
    assert (oss.active - oss.vocabulary * oss.width) / 1e9 == pytest.approx(3.6, rel=0.01)


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "x"}, {"hidden_size": "wide"}, {"text_config": 3}, {"vocab_size": 5}]
)
def test_a_config_without_sizes_has_no_shape(config: dict[str, Any]) -> None:
    assert read_shape(config) is None


def test_a_size_alone_gives_a_shape_of_that_size() -> None:
    for millions in (0.2, 124, 7000):
        shape = of_size(millions * 1e6)
        assert shape.parameters == millions * 1e6
        assert 12 * shape.layers * shape.width**2 == pytest.approx(shape.parameters, rel=0.5)


def files_of(folder: Path, name: str) -> Path:
    """A repository with a config.json and no weights."""
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text(json.dumps(SHAPES[name].config))
    return folder / name


@pytest.mark.parametrize("at", range(0, len(SHAPES), 2), ids=lambda at: "-".join(list(SHAPES)[at : at + 2]))
def test_a_plan_shows_parameters_memory_and_cost_by_config_json_alone(
    w2s: Callable[..., Any], tmp_path: Path, at: int
) -> None:
    """In a process of its own: the hub's client reads its address when it is imported."""
    weak, strong = list(SHAPES)[at : at + 2]
    files = [read_yaml((configs_folder() / "model" / f"{name}.yaml").read_text()) for name in (weak, strong)]
    repositories = {file["id"]: files_of(tmp_path / "hub", file["name"]) for file in files}
    no_classifier = "gemma-4" in weak + strong
    on = ["method=naive_text", "data=arithmetic"] if no_classifier else ["data=wordnet_living"]
    words = [f"weak={weak}", f"strong={strong}", *on, "launcher.device=cpu"]
    with tiny_hub(dict(repositories)) as address:
        hub = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        done = w2s("plan", *words, **hub)
        if no_classifier:
            words = [f"weak={weak}", f"strong={strong}", "data=wordnet_living"]
            refused = w2s("plan", *words, code=2, **hub).stderr
            assert re.search(
                r'transformers has none for its (weak|student) model "gemma-4-.*" \(gemma4\): use a method on texts',
                refused,
            )
    for role, name in (("weak", weak), ("student", strong)):
        shape = read_shape(SHAPES[name].config)
        assert shape is not None
        row = re.search(
            rf"^{role} +{re.escape(name)} +([\d.]+) ([BM]) +([\d,.]+) .* ([\d,.]+)$", done.stdout, re.MULTILINE
        )
        assert row
        assert float(row[1]) * {"B": 1e9, "M": 1e6}[row[2]] == pytest.approx(shape.parameters, rel=0.01)
        weights, total = (float(figure.replace(",", "")) for figure in row.group(3, 4))
        assert 4 * (shape.parameters - shape.output) / 2**30 <= weights * 1.01  # a classifier has no output layer
        assert total > 3.9 * 4 * shape.parameters / 2**30  # weights, gradients, two moments
        if total > 200:
            assert re.search(rf"Caution: {role}\b.* \({re.escape(name)}\) needs? about {row[4]} GiB", done.stdout)
    assert re.search(r"^FLOPs +[\d.]+e\+\d+", done.stdout, re.MULTILINE)
