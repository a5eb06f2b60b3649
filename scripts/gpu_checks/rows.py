"""Rows for the checks: the benchmark's texts (`scripts/benchmarks/texts.py`) as token ids, with their labels.

The texts are made once, in a file of the work folder: to draw them takes more than a second, and each check has a process of its own.
"""

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.benchmarks import texts
from scripts.gpu_checks.settings import Settings
from scripts.gpu_checks.shapes import tokenizer

if TYPE_CHECKING:
    import numpy as np

    from w2s_cli.training.tokens import TokenRows


class Rows(NamedTuple):
    """Rows that a classifier learns."""

    tokens: "TokenRows"
    labels: "np.ndarray"  # [rows] int64, 0 or 1


def rows(settings: Settings, count: int, longest: int | None = None) -> Rows:
    """`count` rows of at most `longest` tokens (default: the settings' max_length)."""
    import numpy as np

    from w2s_cli.training.tokens import encode

    made = _made(settings)[:count]
    if len(made) < count:
        raise ValueError(f"{count} rows are asked for, and {len(made)} are made")
    tokens = encode(tokenizer(), [row["text"] for row in made], longest or settings.max_length)
    return Rows(tokens, np.array([row["label"] for row in made]))


def prompts(settings: Settings, count: int) -> "list[np.ndarray]":
    """`count` prompts [tokens] int64 of different lengths, the longest first."""
    import numpy as np

    tokens = rows(settings, count, settings.prompt_tokens).tokens.ids
    return sorted((ids.astype(np.int64) for ids in tokens), key=len, reverse=True)


def padded(ids: Any, side: str) -> tuple[Any, Any]:
    """Token ids [rows, longest] and their mask, padded with the pad token on the `side`, left or right, on the CPU."""
    from w2s_cli.training.batching import pad

    if side == "right":
        return pad(ids, tokenizer().pad_token_id)
    flipped, mask = pad([row[::-1] for row in ids], tokenizer().pad_token_id)
    return flipped.flip(1), mask.flip(1)


def _made(settings: Settings) -> list[dict[str, Any]]:
    """The texts {id, text, label} that are enough for every check; any number of rows begins with the same ones."""
    path = settings.work / "texts.jsonl"
    if not path.exists():
        temporary = path.with_suffix(f".{os.getpid()}")
        texts.write(temporary, settings.most_rows, settings.mean_tokens).rename(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
