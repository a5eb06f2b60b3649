"""The training objective of classifiers and reward models: a loss of class logits against targets."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError
from w2s_cli.losses import Loss
from w2s_cli.training.batching import PADDED, Layout, micro_batches
from w2s_cli.training.loop import Contribution, Objective


def objective(
    forward: Callable[[list[int]], Tensor],
    lengths: np.ndarray,
    targets: Tensor,
    loss: Loss,
    args: dict[str, Any],
    *,
    weights: Tensor | None = None,
    tokens: np.ndarray | None = None,
    layout: Layout = PADDED,
) -> Objective:
    """The training objective: `forward(rows)` gives logits [rows, classes], `targets` is [all rows, classes].

    `weights` [all rows] multiply the targets: for a loss that is linear in them (cross-entropy) the rows' losses. `tokens` are the
    real tokens of each row where these are not `lengths` (pairs).

    The loss sees what it would see if the effective batch went through at once. A loss that is a mean over rows is taken
    per micro-batch. Any other one is computed on the logits of the whole batch, from a first pass without gradients,
    and a second pass sends its gradient with respect to the logits back through each micro-batch.
    """
    taught = targets if weights is None else targets * weights[:, None]
    real = lengths if tokens is None else tokens

    def loss_of(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        name = getattr(loss.function, "__name__", "?")
        try:
            value: Tensor = loss.function(logits, labels, progress=progress, **args)
        except TypeError as error:
            raise UserError(f"loss {name} cannot be computed with the arguments {args}: {error}") from error
        if value.ndim:
            raise UserError(
                f"loss {name} must return a scalar, the mean over its rows, and returned shape {list(value.shape)}"
            )
        return value

    def contributions(chosen: Sequence[int], progress: float, micro_tokens: int) -> Iterator[Contribution]:
        pieces = micro_batches(chosen, lengths, micro_tokens, layout)
        slopes: list[Tensor] | None = None
        whole = torch.zeros(())
        if len(pieces) > 1 and not loss.per_example:
            with torch.no_grad():
                known = torch.cat([forward(piece) for piece in pieces])
            known.requires_grad_()
            order = [row for piece in pieces for row in piece]
            value = loss_of(known, taught[order], progress)
            (gradient,) = torch.autograd.grad(value, known)
            slopes, whole = list(torch.split(gradient, [len(piece) for piece in pieces])), value.detach()
        for number, piece in enumerate(pieces):
            found = forward(piece)
            share = len(piece) / len(chosen)
            if slopes is None:
                part = loss_of(found, taught[piece], progress) * share
                value, backward = part.detach(), part
            else:
                value, backward = whole * share, (found * slopes[number]).sum()
            right = (found.argmax(1) == targets[piece].argmax(1)).sum()
            seen, room = int(real[piece].sum()), layout.room(lengths[piece])
            yield Contribution(
                backward, {"loss": value, "right": right, "rows": len(piece), "tokens": seen, "padded": room}
            )

    return contributions
