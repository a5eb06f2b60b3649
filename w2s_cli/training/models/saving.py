"""Saving a finished model: a plain folder, as save_pretrained writes it, that transformers loads without w2s."""

from pathlib import Path
from typing import Any

from w2s_cli.store.files import disk_errors


def save_model(model: Any, tokenizer: Any, folder: Path, card: str) -> None:
    """Write weights, config, tokenizer and the model card with text `card` into `folder`."""
    with disk_errors():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    head = "---\nlibrary_name: transformers\ntags: [weak-to-strong]\n---\n\n"
    (folder / "README.md").write_text(head + card, encoding="utf-8")
