"""Texts to token rows: one padding rule, one truncation rule, for every tokenizer.

* No text contains the pad token: a tokenizer without a pad token, or with its end-of-text token as one, gets `<|pad|>`. Then
  transformers' own classifiers, which take "id ≠ pad" as the last token, agree with the mask for any text.
* A text above the limit is cut on the chosen side, and counted. No text is dropped, so all models see the same rows.
* The two texts of a pair go through the model in one forward pass, so the shorter is padded to the longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.training.batching import Layout
from w2s_cli.training.models.opening import open_part

PAD = "<|pad|>"


@dataclass(frozen=True)
class TokenRows:
    """Encoded texts, or pairs of them."""

    ids: list[np.ndarray]  # each [tokens], int32
    lengths: np.ndarray  # [rows] tokens of a row in a padded micro-batch by itself; of a pair twice its longer text
    truncated: int  # number of rows with a cut text
    second: list[np.ndarray] | None = None  # of pairs: the second text; `ids` holds the first

    def part(self, start: int, end: int) -> "TokenRows":
        """Rows start … end-1."""
        second = None if self.second is None else self.second[start:end]
        return TokenRows(self.ids[start:end], self.lengths[start:end], self.truncated, second)

    @property
    def real(self) -> np.ndarray:
        """Real tokens of each row, without padding, [rows]."""
        if self.second is None:
            return self.lengths
        return np.array(
            [len(first) + len(second) for first, second in zip(self.ids, self.second, strict=True)], dtype=np.int64
        )

    def taken(self, layout: Layout) -> np.ndarray:
        """Tokens that a row adds to a micro-batch of this layout, [rows]."""
        return self.real if layout.packed else self.lengths

    def summary(self) -> dict[str, Any]:
        """Cut rows and their share, for the metrics."""
        return {"rows": self.truncated, "share": round(self.truncated / max(1, len(self.ids)), 4)}


def open_tokenizer(folder: Path, truncation: str, *, trust_remote_code: bool) -> Any:
    """The tokenizer of a model folder, padding on the right, with a pad token of its own."""
    from transformers import AutoTokenizer

    if truncation not in ("left", "right"):
        raise UserError(f'truncation={truncation} is unknown; use "left" or "right"')
    tokenizer = open_part(AutoTokenizer, folder, trust_remote_code=trust_remote_code)
    tokenizer.padding_side, tokenizer.truncation_side = "right", truncation
    others = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in others:
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def context_limit(config: Any, tokenizer: Any, max_length: int) -> int:
    """Tokens that a text may have: the smaller of `max_length` and the model's own context."""
    positions = getattr(config, "max_position_embeddings", None) or max_length
    stated = tokenizer.model_max_length or max_length  # a huge number in a tokenizer without a limit
    return int(min(max_length, positions, stated))


def encode(tokenizer: Any, texts: Sequence[str], limit: int, second: Sequence[str] | None = None) -> TokenRows:
    """Token rows of at most `limit` tokens a text, with the tokenizer's own special tokens; an empty text is one end token.

    `second` (of pairs) holds the second text of each row. A pair counts as cut if one of its texts is cut.
    """
    rows, cut = _encoded(tokenizer, texts, limit)
    if second is None:
        return joined(rows, len(cut))
    second_rows, second_cut = _encoded(tokenizer, second, limit)
    return joined(rows, len(cut | second_cut), second_rows)


def joined(ids: list[np.ndarray], truncated: int, second: list[np.ndarray] | None = None) -> TokenRows:
    """Token rows of encoded texts, or of pairs with their second texts; `truncated` rows were cut."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    if second is None:
        return TokenRows(ids, lengths, truncated)
    return TokenRows(ids, 2 * np.maximum(lengths, [len(row) for row in second]), truncated, second)


def _encoded(tokenizer: Any, texts: Sequence[str], limit: int) -> tuple[list[np.ndarray], set[int]]:
    """Token ids of each text, and the numbers of the cut texts."""
    encoded: list[list[int]] = tokenizer(list(texts))["input_ids"] if len(texts) else []
    long = [row for row, ids in enumerate(encoded) if len(ids) > limit]
    if long:
        cut = tokenizer([texts[row] for row in long], truncation=True, max_length=limit)["input_ids"]
        for row, ids in zip(long, cut, strict=True):
            encoded[row] = ids
    end = next((i for i in (tokenizer.eos_token_id, tokenizer.bos_token_id) if i is not None), 0)
    return [np.array(ids or [end], dtype=np.int32) for ids in encoded], set(long)
