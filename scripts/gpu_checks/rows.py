"""Rows for the checks: the benchmark's texts (`scripts/benchmarks/texts.py`) as token ids, with their labels."""

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

    made = list(texts.rows(count, settings.mean_tokens))
    tokens = encode(tokenizer(), [row["text"] for row in made], longest or settings.max_length)
    return Rows(tokens, np.array([row["label"] for row in made]))


def prompts(settings: Settings, count: int) -> "list[np.ndarray]":
    """`count` prompts [tokens] int64 of different lengths, the longest first."""
    import numpy as np

    found = rows(settings, count, settings.prompt_tokens).tokens.ids
    return sorted((ids.astype(np.int64) for ids in found), key=len, reverse=True)


def padded(ids: Any, side: str) -> tuple[Any, Any]:
    """Token ids [rows, longest] and their mask, padded with the pad token on the `side`, left or right, on the CPU."""
    from w2s_cli.training.batching import pad

    if side == "right":
        return pad(ids, tokenizer().pad_token_id)
    flipped, mask = pad([row[::-1] for row in ids], tokenizer().pad_token_id)
    return flipped.flip(1), mask.flip(1)
