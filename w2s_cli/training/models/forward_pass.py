"""From token rows to a classifier's logits or a causal model's features."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.training.attention import packed
from w2s_cli.training.batching import LAUNCHED, PADDED, Layout, gather, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.models.classifier import is_causal
from w2s_cli.training.models.trunk import inputs
from w2s_cli.training.tokens import TokenRows


def last_token_features(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Hidden state of the last real token, [rows, width] fp32, of a causal model; ids and mask are [rows, tokens] on the CPU."""
    with autocast(model.device, precision):
        if packed.usable(model, precision):
            return packed.last_states(model, ids, mask).float()
        hidden = model.base_model(**inputs(model, ids, mask), use_cache=False).last_hidden_state
    last = (mask.sum(1) - 1).to(model.device)  # padding is on the right
    return hidden[torch.arange(len(ids), device=model.device), last].float()  # type: ignore[no-any-return]


def logits(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Class logits [rows, classes] in fp32; the head of a causal model is computed in fp32 too."""
    if is_causal(model):
        return model.score(last_token_features(model, ids, mask, precision))  # type: ignore[no-any-return]
    with autocast(model.device, precision):
        return model(**inputs(model, ids, mask)).logits.float()  # type: ignore[no-any-return]


def on_rows(
    model: Any,
    tokens: TokenRows,
    rows: Sequence[int],
    pad_id: int,
    precision: str,
    read: Callable[..., Tensor] = logits,
) -> Tensor:
    """`read(model, ids, mask, precision)` for some rows: [rows, width]; for pairs, both texts in one pass: [rows, 2, width]."""
    sequences = [tokens.ids[row] for row in rows]
    if tokens.second is not None:
        sequences += [tokens.second[row] for row in rows]
    ids, mask = pad(sequences, pad_id)
    found = read(model, ids, mask, precision)
    return found if tokens.second is None else found.reshape(2, len(rows), -1).transpose(0, 1)


def layout_for(model: Any, precision: str) -> Layout:
    """How this classifier's rows lie in a micro-batch."""
    if is_causal(model) and packed.usable(model, precision):
        return packed.layout(model)
    return PADDED if model.device.type == "cpu" else LAUNCHED


@torch.inference_mode()
def predict(model: Any, tokens: TokenRows, precision: str, budget: int, read: Callable[..., Tensor]) -> np.ndarray:
    """`read(model, ids, mask, precision)` for all rows, in their order: [rows, width], or of pairs [rows, 2, width], float32.

    Length-sorted batches of at most `budget` tokens, without gradients.
    """
    layout = layout_for(model, precision)
    return gather(lambda rows: on_rows(model, tokens, rows, 0, precision, read), tokens.taken(layout), budget, layout)
