"""The forward pass: from token rows to a classifier's logits, or to a causal model's features.

* The place of the last real token comes from the attention mask, never from a token's id.
* Rows are packed where the model can (`attention/packed.py`), else padded. A model whose result for a row depends on the other rows
  gets one row at a time, in training as in prediction: then a result depends neither on the micro-batch nor on the rows beside it.
* A pair is two texts in one forward pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError
from w2s_cli.store.context import Context
from w2s_cli.store.memory import means_no_memory, stays
from w2s_cli.training.attention import packed
from w2s_cli.training.batching import ALONE, LAUNCHED, PADDED, Layout, pad, spread
from w2s_cli.training.device import autocast
from w2s_cli.training.memory import Budget, empty_memory, gather
from w2s_cli.training.models.classifier import is_causal
from w2s_cli.training.models.compiled import uncompiled
from w2s_cli.training.models.trunk import inputs
from w2s_cli.training.tokens import TokenRows

# Largest error of a trial, which runs without autocast. Tiny models: FNet 1.3e-2, Phi-3 2.6e-3; ten other families at most 5e-7.
ROUNDING = {"fp32": 1e-4, "bf16": 1e-4, "tf32": 1e-2}
TELLING = 4  # tokens of the shortest row of a trial, if there are as long ones


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
    layout: Layout,
    precision: str,
    read: Callable[..., Tensor] = logits,
) -> Tensor:
    """`read(model, ids, mask, precision)` for some rows: [rows, width], of pairs [rows, 2, width] (first text, second text)."""
    sequences = [tokens.ids[row] for row in rows]
    if tokens.second is not None:
        sequences += [tokens.second[row] for row in rows]
    passes = layout.passes(sequences)
    outputs = torch.cat([read(model, *pad(together, _pad_id(model)), precision) for together in passes])
    return outputs if tokens.second is None else outputs.reshape(2, len(rows), -1).transpose(0, 1)


def _pad_id(model: Any) -> int:
    """The id between rows of different lengths: the config's pad token, by which some heads (CTRL's) find the last token of a row."""
    pad_id: int | None = model.config.get_text_config().pad_token_id
    return 0 if pad_id is None else pad_id


def layout_for(model: Any, tokens: TokenRows, precision: str) -> Layout:
    """The layout of micro-batches of these rows in this classifier."""
    together = PADDED if model.device.type == "cpu" else LAUNCHED
    if _why_padded(model, precision) is None:
        together = packed.layout(model)
    read = last_token_features if is_causal(model) else logits  # a new head of a causal model gives zeros
    return ALONE if depends_on_others(model, [*tokens.ids, *(tokens.second or [])], precision, read) else together


def tell(model: Any, layout: Layout, precision: str, ctx: Context) -> None:
    """Note in log.txt and record.json how the rows of a stage lie in a micro-batch of this classifier."""
    packed.tell(layout, _why_padded(model, precision), ctx)


def _why_padded(model: Any, precision: str) -> str | None:
    """Why the rows of this classifier are padded; None: they are packed."""
    return packed.why_padded(model, precision) if is_causal(model) else f"{model.config.model_type} is not causal"


@torch.no_grad()
def depends_on_others(
    model: Any, sequences: Sequence[np.ndarray], precision: str, read: Callable[..., Tensor] = last_token_features
) -> bool:
    """Whether the model reads short rows of `sequences` in another way beside the longest than alone; then rows go through one by one.

    FNet mixes the padding into a row, and the rotations of Phi-3's longrope change for all rows when one of them is long. So the length
    decides, and the trial needs the real rows; a row of one token attends to nothing else and shows nothing. If four rows do not fit the
    memory, the shortest and the longest must do; if these do not, the micro-batches will have one row, with nothing beside it.

    Raises:
        UserError: the model has fewer positions than the longest row needs.
    """
    telling = [ids for ids in sequences if len(ids) >= TELLING] or list(sequences)
    tried = [telling[row] for row in spread([len(ids) for ids in telling])]
    for rows in (tried, [tried[0], tried[-1]]):
        try:
            return _largest_difference(model, rows, read) > ROUNDING[precision]
        except IndexError as error:
            raise UserError(
                f"this {model.config.model_type} cannot read a row of {len(tried[-1])} tokens, though its config has as many positions: "
                "lower max_length"
            ) from error
        except Exception as error:
            if not means_no_memory(error) or stays(error):
                raise
        empty_memory()  # outside the handler: the traceback keeps the failed pass in memory
    return False


def _largest_difference(model: Any, rows: Sequence[np.ndarray], read: Callable[..., Tensor]) -> float:
    """The largest ‖beside others − alone‖ / ‖alone‖ of what the model reads in `rows`, which end with the longest."""

    def states(together: Sequence[np.ndarray]) -> Tensor:
        return read(model, *pad(together, _pad_id(model)), "fp32")  # [rows, width]

    with uncompiled(model):
        longest = states(rows[-1:])  # first: it shows whether the model has the positions
        if len({len(ids) for ids in rows}) < 2:
            return 0.0
        beside, alone = states(rows), torch.cat([*(states([ids]) for ids in rows[:-1]), longest])
    return float(((beside - alone).norm(dim=1) / alone.norm(dim=1).clamp(min=1)).max())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [rows, classes] float32, computed in float64, of logits [rows, classes]."""
    probabilities: np.ndarray = torch.from_numpy(logits).double().softmax(-1).float().numpy()
    return probabilities


@torch.inference_mode()
def predict(
    model: Any, tokens: TokenRows, layout: Layout, precision: str, budget: Budget, read: Callable[..., Tensor]
) -> np.ndarray:
    """`read(model, ids, mask, precision)` for all rows, in their order: [rows, width], of pairs [rows, 2, width], float32.

    Without gradients, in micro-batches within the budget, sorted by length.
    """
    return gather(
        lambda rows: on_rows(model, tokens, rows, layout, precision, read), tokens.taken(layout), budget, layout
    )


def reader(
    model: Any, tokens: TokenRows, precision: str, ctx: Context, read: Callable[..., Tensor]
) -> Callable[[int, int], np.ndarray]:
    """A function (start, end) → `predict` of these rows, within the stage's memory; log and record say how the rows lie."""
    with torch.no_grad():  # the trial of packed rows then needs no gradients
        layout = layout_for(model, tokens, precision)
        tell(model, layout, precision, ctx)
    budget = Budget(ctx, "eval_tokens")
    return lambda start, end: predict(model, tokens.part(start, end), layout, precision, budget, read)
