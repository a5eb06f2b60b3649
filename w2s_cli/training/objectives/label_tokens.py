"""The label as text: the loss of a language model on the label token after a text and on the end token after that.

The loss is over the whole vocabulary and the mean of both tokens, as supervised finetuning has it (the automated weak-to-strong sandbox,
core/train.py: all tokens before the label are masked). The output layer is frozen. Labels are hard: a text has one label token.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.training.attention import packed
from w2s_cli.training.batching import Layout, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.division import Whole, whole_of
from w2s_cli.training.loop import Contribution, Objective
from w2s_cli.training.models.token_head import LabelHead
from w2s_cli.training.models.trunk import inputs
from w2s_cli.training.objectives.classification import sums_of
from w2s_cli.training.tokens import TokenRows, joined


def objective(
    model: Any,
    tokens: TokenRows,
    classes: np.ndarray,
    head: LabelHead,
    end: int | None,
    pad_id: int,
    precision: str,
    layout: Layout,
    *,
    draw: Callable[[float, int], None] | None = None,
) -> Objective:
    """The objective for the token rows of texts with their suffix, and `classes` [rows]; `draw` as of `classification.objective`.

    Raises:
        UserError: the tokenizer has no end token.
    """
    if end is None:
        raise UserError("train.head.next_token=true trains on the end token, and this model's tokenizer has none")
    assert head.layer is not None
    layer, labels = head.layer.to(model.device), torch.tensor(head.ids, device=model.device)
    rows = joined([np.append(ids, head.ids[label]) for ids, label in zip(tokens.ids, classes, strict=True)], 0)
    lengths, right_class = rows.taken(layout), torch.from_numpy(classes).to(model.device)

    def contributions(pieces: list[list[int]], progress: float, batch: Whole | None = None) -> Iterator[Contribution]:
        whole = len((batch or whole_of(pieces)).order)
        for piece in pieces:
            if draw is not None:
                draw(progress, piece[0])
            passes = layout.passes([rows.ids[row] for row in piece])
            states = [last_two_states(model, *pad(together, pad_id), precision) for together in passes]
            logits = torch.cat(states) @ layer.T  # [rows, 2, vocabulary]
            wanted = torch.stack([labels[right_class[piece]], labels.new_full((len(piece),), end)], 1)  # [rows, 2]
            summed = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
            loss = summed / (2 * whole)
            right = (logits[:, 0, labels].argmax(1) == right_class[piece]).sum()
            yield Contribution(loss, sums_of(loss.detach(), right, rows.real[piece], layout.room(lengths[piece])))

    return Objective(lengths, layout, contributions, draws=draw is not None)


def last_two_states(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Hidden states of a causal model at each row's last two real tokens, [rows, 2, width] fp32; ids, mask [rows, tokens] on the CPU."""
    lengths = mask.sum(1)  # [rows]
    before = torch.tensor([[2, 1]])
    with autocast(model.device, precision):
        if packed.usable(model, precision):
            hidden = packed.all_states(model, ids, mask)  # [tokens, width]
            return hidden[(lengths.cumsum(0)[:, None] - before).to(model.device)].float()
        hidden = model.base_model(**inputs(model, ids, mask), use_cache=False).last_hidden_state
    places = (lengths[:, None] - before).to(model.device)  # padding is on the right
    return hidden[torch.arange(len(ids), device=model.device)[:, None], places].float()  # type: ignore[no-any-return]
