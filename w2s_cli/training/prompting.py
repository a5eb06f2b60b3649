"""Texts with a suffix that asks for the label token; truncation never cuts the suffix.

* Text and suffix are tokenised as one string, as the language model would read them ("." and a newline may be one token). In a row
  that is too long only the text is cut, on the chosen side; leading special tokens and the suffix stay.
* The config of a finished classifier holds its suffix (`w2s_suffix`), so that every later stage asks in the same way.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.errors import UserError
from w2s_cli.store.context import Context
from w2s_cli.training.token_cache import shared
from w2s_cli.training.tokens import TokenRows, check_ids, encode, joined, special_ids

SUFFIX = "w2s_suffix"  # field of the classifier's config
TOKENS = "w2s_tokens"
BATCH = 1000  # texts that are Python lists of tokens at a time


def encode_for(config: Any, tokenizer: Any, rows: Rows, limit: int, folder: Path, ctx: Context) -> TokenRows:
    """The token rows of `rows`; with the suffix in `config`, if the classifier in `folder` was trained with one."""
    suffix = getattr(config, SUFFIX, None)
    if suffix is not None and rows.second is not None:
        raise UserError("a model with label tokens classifies single texts, and these rows are pairs")

    def encoded() -> TokenRows:
        if suffix is None:
            return encode(tokenizer, rows.texts, limit, rows.second)
        return encode_with_suffix(tokenizer, rows.texts, suffix, limit)

    tokens = shared(ctx, folder, rows, [type(tokenizer).__name__, tokenizer.truncation_side, limit, suffix], encoded)
    check_ids([*tokens.ids, *(tokens.second or [])], config, folder)
    return tokens


def encode_with_suffix(
    tokenizer: Any, texts: Sequence[str], suffix: str, limit: int, *, special: bool = True, before: str = ""
) -> TokenRows:
    """Token rows of before + text + suffix, of at most `limit` tokens; `special`: with the tokenizer's leading special tokens.

    Raises:
        UserError: the suffix alone is longer than `limit`, or the tokenizer does not map tokens to characters.
    """
    if not tokenizer.is_fast:
        raise UserError("label tokens need a fast tokenizer (tokenizer.json), and this model has none")
    rows, cut, empty, nothing = [], 0, 0, special_ids(tokenizer)
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        encoded = tokenizer(
            [before + text + suffix for text in batch],
            add_special_tokens=special,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        for text, ids, offsets, added in zip(
            batch, encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
        ):
            end = len(ids)
            while end and added[end - 1]:  # without end tokens, so that the last token is the suffix's
                end -= 1
            lead = next((at for at in range(end) if not added[at]), end)
            lead += sum(1 for at in range(lead, end) if offsets[at][1] <= len(before)) if before else 0
            tail = sum(1 for at in range(lead, end) if offsets[at][1] > len(before) + len(text))
            room = limit - lead - tail
            if room < 0:
                raise UserError(
                    f'the suffix "{suffix}" takes {lead + tail} tokens with the special ones, but a text may have {limit}: '
                    "raise max_length or shorten the suffix"
                )
            body = ids[lead : end - tail]
            empty += nothing.issuperset(body)
            if len(body) > room:
                cut += 1
                body = body[len(body) - room :] if tokenizer.truncation_side == "left" else body[:room]
            rows.append(np.array([*ids[:lead], *body, *ids[end - tail : end]], dtype=np.int32))
    return joined(rows, cut, empty=empty)
