"""The forward pass: from token rows to a classifier's logits, or to a causal model's features.

* The place of the last real token comes from the attention mask, never from a token's id.
* Rows are packed where the model can (`attention/packed.py`), else padded.
* A pair is two texts in one forward pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.training.attention import packed
from w2s_cli.training.batching import LAUNCHED, PADDED, Layout, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.memory import Budget, gather
from w2s_cli.training.models.classifier import is_causal
from w2s_cli.training.models.trunk import inputs
from w2s_cli.training.tokens import TokenRows


def last_token_features(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Hidden state of a causal model at each row's last real token, [rows, width] fp32; ids and mask are [rows, tokens] on the CPU."""
    with autocast(model.device, precision):
        if packed.usable(model, precision):
            return packed.last_states(model, ids, mask).float()
        hidden = model.base_model(**inputs(model, ids, mask), use_cache=False).last_hidden_state
    last = (mask.sum(1) - 1).to(model.device)  # padding is on the right
    return hidden[torch.arange(len(ids), device=model.device), last].float()  # type: ignore[no-any-return]


def logits(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Outputs of a classifier, [rows, outputs] fp32; the head of a causal model computes in fp32 too."""
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
    """`read(model, ids, mask, precision)` for some rows: [rows, width], of pairs [rows, 2, width] (first text, second text)."""
    sequences = [tokens.ids[row] for row in rows]
    if tokens.second is not None:
        sequences += [tokens.second[row] for row in rows]
    ids, mask = pad(sequences, pad_id)
    outputs = read(model, ids, mask, precision)
    return outputs if tokens.second is None else outputs.reshape(2, len(rows), -1).transpose(0, 1)


def why_padded(model: Any, precision: str) -> str | None:
    """Why the rows of this classifier are padded; None: they are packed."""
    return packed.why_padded(model, precision) if is_causal(model) else f"{model.config.model_type} is not causal"


def layout_for(model: Any, precision: str) -> Layout:
    """The layout of this classifier's micro-batches."""
    if why_padded(model, precision) is None:
        return packed.layout(model)
    return PADDED if model.device.type == "cpu" else LAUNCHED


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [rows, classes] float32, computed in float64, of logits [rows, classes]."""
    probabilities: np.ndarray = torch.from_numpy(logits).double().softmax(-1).float().numpy()
    return probabilities


@torch.inference_mode()
def predict(model: Any, tokens: TokenRows, precision: str, budget: Budget, read: Callable[..., Tensor]) -> np.ndarray:
    """`read(model, ids, mask, precision)` for all rows, in their order: [rows, width], of pairs [rows, 2, width], float32.

    Without gradients, in micro-batches within the budget, sorted by length.
    """
    layout = layout_for(model, precision)
    return gather(lambda rows: on_rows(model, tokens, rows, 0, precision, read), tokens.taken(layout), budget, layout)
