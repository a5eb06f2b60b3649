"""Base models for the benchmark: bundled ones with a longer context, and random ones in the shapes of public models.

Rotary positions need no weights, so a bundled Llama or Qwen2 reads 1,024 tokens after a change of its config. Random weights are enough
where only speed is measured: `gpt2-4x256` is the model of the first measurements, the others are for a GPU.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from scripts.benchmarks.texts import BUNDLED

CONTEXT = 1024
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2-2x128": {"model_type": "gpt2", "n_layer": 2, "n_embd": 128, "n_head": 2},
    "gpt2-4x256": {"model_type": "gpt2", "n_layer": 4, "n_embd": 256, "n_head": 4},
    "gpt2-6x384": {"model_type": "gpt2", "n_layer": 6, "n_embd": 384, "n_head": 6},
    "gpt2-8x512": {"model_type": "gpt2", "n_layer": 8, "n_embd": 512, "n_head": 8},
    "llama-135m": {  # SmolLM2-135M
        "model_type": "llama",
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "gpt2-medium": {"model_type": "gpt2", "n_layer": 24, "n_embd": 1024, "n_head": 16, "vocab_size": 50257},
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "num_hidden_layers": 24,
        "hidden_size": 896,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
    },
}


def base(name: str, folder: Path) -> Path:
    """The model folder `folder`/NAME, made if it is not there: one of `SHAPES`, else a bundled one with a longer context."""
    target = folder / name
    if (target / "done").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    if name in SHAPES:
        _random(SHAPES[name], target)
    else:
        shutil.copytree(BUNDLED / "models" / name, target)
    _edit(target / "config.json", max_position_embeddings=CONTEXT)
    _edit(target / "tokenizer_config.json", model_max_length=CONTEXT)
    (target / "done").touch()
    return target


def _random(shape: dict[str, Any], target: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    from w2s_cli.training.models.language_model import fresh_language_model
    from w2s_cli.training.models.opening import quiet

    quiet()
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED / "models" / "wordnet-l")
    positions = "n_positions" if shape["model_type"] == "gpt2" else "max_position_embeddings"
    model = fresh_language_model({positions: CONTEXT, **shape}, tokenizer, CONTEXT, 0, torch.device("cpu"))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "config.json" and content["model_type"] == "gpt2":
        return  # its positions are weights, and n_positions says how many
    path.write_text(json.dumps({**content, **fields}, indent=2), encoding="utf-8")
