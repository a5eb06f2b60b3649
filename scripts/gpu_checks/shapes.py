"""Models of real shapes with random weights, made on the device itself: nothing is downloaded, and no file is written.

* The fields are those of the models' config.json. Random weights are enough where speed, memory and agreement of two ways are measured.
* fp32, as a stage opens a model. A 7 B model takes 27 GB, and some seconds to draw on a GPU; on the CPU it would take a minute.
"""

import functools
from typing import Any

from scripts.benchmarks.models import SHAPES as BENCHMARKED
from scripts.benchmarks.texts import BUNDLED
from scripts.gpu_checks.settings import Settings

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": BENCHMARKED["qwen2.5-0.5b"],  # keys shared by 7 heads, tied embeddings
    "llama-2-7b": {  # each head with keys of its own, an output layer of its own
        "model_type": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
    },
    "qwen2-tiny": {"model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True, **TINY},
    "llama-tiny": {"model_type": "llama", **TINY},
}


@functools.cache
def tokenizer() -> Any:
    """A bundled tokenizer; the shapes have at least as many words."""
    from w2s_cli.training.tokens import open_tokenizer

    return open_tokenizer(BUNDLED / "models" / "wordnet-l", "right", trust_remote_code=False)


def config_of(settings: Settings, shape: str, **fields: Any) -> dict[str, Any]:
    """The fields of a shape's config.json, with `fields` in the place of its own."""
    return {"vocab_size": len(tokenizer()), **SHAPES[settings.models[shape]], **fields}


def language_model(settings: Settings, shape: str) -> Any:
    """The causal language model of a shape, in fp32 on the device, in eval mode."""
    import torch

    from w2s_cli.training.models.language_model import fresh_language_model

    device = torch.device(settings.device)
    with device:  # transformers draws the weights where tensors are made
        return fresh_language_model(
            config_of(settings, shape), tokenizer(), settings.max_length, 0, torch.device(device)
        ).eval()


def classifier(settings: Settings, shape: str, **fields: Any) -> Any:
    """The classifier of two classes of a shape, as `training.models.classifier.open_base` makes one: fp32, a head of zeros, no dropout."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from w2s_cli.training.models.fused import fuse
    from w2s_cli.training.models.trunk import attention_for, zero_dropout

    architecture = config_of(settings, shape, **fields)
    pad_id = tokenizer().pad_token_id
    config = AutoConfig.for_model(architecture.pop("model_type"), num_labels=2, pad_token_id=pad_id, **architecture)
    zero_dropout(config)
    device = torch.device(settings.device)
    torch.manual_seed(0)
    with device:
        model = AutoModelForSequenceClassification.from_config(
            config, attn_implementation=attention_for(device, settings.max_length)
        ).float()
    torch.nn.init.zeros_(model.score.weight)
    fuse(model)
    return model.to(device)


def matrix_weights(model: Any) -> int:
    """Weights in the matrices of the layers: without embeddings, output layer, biases and norms. Call it before adapters are added."""
    from w2s_cli.training.models.trunk import layers

    return sum(weight.numel() for weight in layers(model.base_model).parameters() if weight.ndim == 2)
