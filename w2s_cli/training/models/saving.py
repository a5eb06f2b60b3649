"""Saving a finished model: a plain folder, as save_pretrained writes it, that transformers loads without w2s.

`merged_model` makes such a folder of a training's adapters: for export, and for engines that read whole weights only.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.store.files import disk_errors
from w2s_cli.training.models.folder import kept_adapters

SHARD = "5GB"  # most bytes of one file of weights


def save_model(model: Any, tokenizer: Any, folder: Path, card: str) -> None:
    """Write weights, config, tokenizer and the model card with text `card` into `folder`; large weights in several files with an index."""
    with disk_errors():
        model.save_pretrained(folder, max_shard_size=SHARD)
        tokenizer.save_pretrained(folder)
    _write_card(folder, card)


def save_beside(model: Any, tokenizer: Any, folder: Path, card: str) -> None:
    """Write what the folder of a model has beside its weights: config, settings of generation, tokenizer and the model card."""
    model.config.architectures = [type(model).__name__]
    with disk_errors():
        model.config.save_pretrained(folder)
        if model.can_generate():
            model.generation_config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _write_card(folder, card)


def merged_model(folder: Path, into: Path, execution: Mapping[str, Any]) -> Path:
    """Write the whole model of the adapters in `folder` into the folder `into`; returns `into`, or `folder` if it has whole weights.

    Args:
        folder: `result/model` of a stage.
        execution: of that stage, or of one that reads it: its `base_path` (or `model_path`) is the folder of a local base.

    Raises:
        UserError: the base is missing or damaged.
    """
    if not kept_adapters(folder):
        return folder
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from w2s_cli.training.models.opening import open_config, open_weights
    from w2s_cli.training.tokens import open_plain_tokenizer

    opened = dict(execution)
    config = open_config(folder, opened)
    classifier = any(str(name).endswith("ForSequenceClassification") for name in config.architectures or [])
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model, _ = open_weights(auto, folder, config, opened, None, new_head=False)
    tokenizer = open_plain_tokenizer(folder, "right", trust_remote_code=bool(opened.get("trust_remote_code")))
    with disk_errors():
        model.save_pretrained(into, max_shard_size=SHARD)
        tokenizer.save_pretrained(into)
    shutil.copyfile(folder / "README.md", into / "README.md")
    return into


def _write_card(folder: Path, card: str) -> None:
    head = "---\nlibrary_name: transformers\ntags: [weak-to-strong]\n---\n\n"
    (folder / "README.md").write_text(head + card, encoding="utf-8")
