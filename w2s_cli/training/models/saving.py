"""Saving a finished model as a plain folder."""

from pathlib import Path
from typing import Any


def save_model(model: Any, tokenizer: Any, folder: Path, card: str) -> None:
    """Write a plain save_pretrained folder with tokenizer and model card."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    head = "---\nlibrary_name: transformers\ntags: [weak-to-strong]\n---\n\n"
    (folder / "README.md").write_text(head + card, encoding="utf-8")
