"""Texts to token rows: one padding rule, one truncation rule, for every tokenizer.

* No text contains the pad token: a tokenizer without a pad token, or with its end-of-text token as one, gets `<|pad|>`. Then
  transformers' own classifiers, which take "id ≠ pad" as the last token, agree with the mask for any text.
* A text above the limit is cut on the chosen side, and counted. No text is dropped, so all models see the same rows.
* The two texts of a pair go through the model in one forward pass, so the shorter is padded to the longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.training.batching import Layout
from w2s_cli.training.models.opening import open_part

PAD = "<|pad|>"
FEWEST_TOKENS = 2  # of a vocabulary, without special tokens: T5's tokenizer without its file still has "▁"


@dataclass(frozen=True)
class TokenRows:
    """Encoded texts, or pairs of them."""

    ids: list[np.ndarray]  # each [tokens], int32
    lengths: np.ndarray  # [rows] tokens of a row in a padded micro-batch by itself; of a pair twice its longer text
    truncated: int  # number of rows with a cut text
    second: list[np.ndarray] | None = None  # of pairs: the second text; `ids` holds the first
    empty: int = 0  # number of rows with a text that has only special and unknown tokens, or none

    def part(self, start: int, end: int) -> "TokenRows":
        """Rows start … end-1."""
        second = None if self.second is None else self.second[start:end]
        return replace(self, ids=self.ids[start:end], lengths=self.lengths[start:end], second=second)

    @property
    def real(self) -> np.ndarray:
        """Real tokens of each row, without padding, [rows]."""
        if self.second is None:
            return self.lengths
        return np.array(
            [len(first) + len(second) for first, second in zip(self.ids, self.second, strict=True)], dtype=np.int64
        )

    @property
    def longest(self) -> np.ndarray:
        """Tokens of each row's longest text, [rows]."""
        return self.lengths if self.second is None else self.lengths // 2

    def taken(self, layout: Layout) -> np.ndarray:
        """Tokens that a row adds to a micro-batch of this layout, [rows]."""
        return self.real if layout.packed else self.lengths

    def summary(self, limit: int) -> dict[str, Any]:
        """For the metrics: cut rows, their share, and the tokens that a text could have."""
        return cut_summary(self.truncated, len(self.ids), limit)


def cut_summary(cut: int, rows: int, limit: int) -> dict[str, Any]:
    """The metric "truncated": `cut` of the `rows` were cut to `limit` tokens."""
    return {"rows": cut, "share": round(cut / max(1, rows), 4), "limit": limit}


def open_tokenizer(folder: Path, truncation: str, *, trust_remote_code: bool) -> Any:
    """The tokenizer of a model folder, padding on the right, with a pad token of its own."""
    tokenizer = open_plain_tokenizer(folder, truncation, trust_remote_code=trust_remote_code)
    others = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in others:
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def open_plain_tokenizer(folder: Path, truncation: str, *, trust_remote_code: bool) -> Any:
    """The model's tokenizer without an added pad token.

    Raises:
        UserError: it has no vocabulary. transformers makes such a tokenizer, of special tokens only, where the files of one are missing.
    """
    from transformers import AutoTokenizer

    if truncation not in ("left", "right"):
        raise UserError(f'truncation={truncation} is unknown; use "left" or "right"')
    tokenizer = open_part(AutoTokenizer, folder, trust_remote_code=trust_remote_code)
    tokenizer.padding_side, tokenizer.truncation_side = "right", truncation
    if len(tokenizer) - len(special_ids(tokenizer)) < FEWEST_TOKENS:
        raise UserError(
            f"the tokenizer in {folder} has no vocabulary: {type(tokenizer).__name__} found no file of its kind there, so every text "
            "would be empty; save the model's tokenizer into that folder (tokenizer.save_pretrained)"
        )
    return tokenizer


def check_ids(rows: Sequence[np.ndarray], config: Any, folder: Path) -> None:
    """Refuse token ids that the model's embedding has no row for: the tokenizer is another model's."""
    words = getattr(config.get_text_config(), "vocab_size", None)
    largest = int(np.concatenate(rows).max()) if rows else 0
    if words is not None and largest >= words:
        raise UserError(
            f"the tokenizer in {folder} gives the token id {largest}, and the model's vocabulary ends at {words - 1}: it is the "
            "tokenizer of another model; save the model's own into that folder"
        )


def context_limit(positions: int | None, tokenizer: Any, max_length: int) -> int:
    """Tokens that a text may have: the smallest of `max_length`, the model's `positions`, and what its tokenizer states."""
    stated = tokenizer.model_max_length or max_length  # a huge number in a tokenizer without a limit
    return int(min(max_length, positions or max_length, stated))


def encode(tokenizer: Any, texts: Sequence[str], limit: int, second: Sequence[str] | None = None) -> TokenRows:
    """Token rows of at most `limit` tokens a text, with the tokenizer's own special tokens; an empty text is one end token.

    `second` (of pairs) holds the second text of each row. A pair counts as cut, or empty, if one of its texts is.
    """
    rows, cut, empty = _encoded(tokenizer, texts, limit)
    if second is None:
        return joined(rows, len(cut), empty=len(empty))
    second_rows, second_cut, second_empty = _encoded(tokenizer, second, limit)
    return joined(rows, len(cut | second_cut), second_rows, empty=len(empty | second_empty))


def joined(
    ids: list[np.ndarray], truncated: int, second: list[np.ndarray] | None = None, *, empty: int = 0
) -> TokenRows:
    """Token rows of encoded texts, or of pairs with their second texts; `truncated` rows were cut, `empty` ones have no token."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    if second is not None:
        lengths = 2 * np.maximum(lengths, [len(row) for row in second])
    return TokenRows(ids, lengths, truncated, second, empty)


def _encoded(tokenizer: Any, texts: Sequence[str], limit: int) -> tuple[list[np.ndarray], set[int], set[int]]:
    """Token ids of each text, and the numbers of the cut and of the empty texts."""
    encoded: list[list[int]] = tokenizer(list(texts))["input_ids"] if len(texts) else []
    special = special_ids(tokenizer)
    empty = {row for row, ids in enumerate(encoded) if special.issuperset(ids)}
    long = [row for row, ids in enumerate(encoded) if len(ids) > limit]
    if long:
        cut = tokenizer([texts[row] for row in long], truncation=True, max_length=limit)["input_ids"]
        for row, ids in zip(long, cut, strict=True):
            encoded[row] = ids
    end = next((i for i in (tokenizer.eos_token_id, tokenizer.bos_token_id) if i is not None), 0)
    return [np.array(ids or [end], dtype=np.int32) for ids in encoded], set(long), empty


def special_ids(tokenizer: Any) -> set[int]:
    """The ids of special tokens, and of the unknown token: a text of these alone says nothing to the model."""
    added: dict[int, Any] = tokenizer.added_tokens_decoder
    return {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
