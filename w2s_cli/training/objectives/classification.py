"""The training objective of classifiers and reward models: a loss between class logits and targets.

A loss sees the same rows as if the effective batch went through the model at once. The loss of each micro-batch is enough for a loss
that is a mean over rows. Any other loss takes two passes: a first pass without gradients gives the logits of the whole batch, the loss
and its gradient with respect to the logits; a second pass sends that gradient back through each micro-batch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError
from w2s_cli.losses import Loss
from w2s_cli.plugins import call_code
from w2s_cli.store.memory import means_no_memory
from w2s_cli.training.batching import PADDED, Layout
from w2s_cli.training.division import Whole, whole_of
from w2s_cli.training.loop import Contribution, Objective, Sums, refuse_own_fault


def objective(
    forward: Callable[[list[int]], Tensor],
    lengths: np.ndarray,
    targets: Tensor,
    loss: Loss,
    args: dict[str, Any],
    *,
    weights: Tensor | None = None,
    tokens: np.ndarray | None = None,
    longest: np.ndarray | None = None,
    layout: Layout = PADDED,
    draw: Callable[[float, int], None] | None = None,
) -> Objective:
    """The objective; `forward(rows)` gives logits [rows, classes], `targets` is [all rows, classes].

    `weights` [all rows] multiply the targets. For a loss that is linear in the targets (cross-entropy) they are factors of the rows'
    losses. `tokens` and `longest` [all rows] are the real tokens of a row and of its longest text, where these differ from `lengths`
    (pairs). `draw(progress, first row)` seeds the random numbers of a micro-batch's forward pass, for a model that has some (adapters'
    dropout).
    """
    weighted = targets if weights is None else targets * weights[:, None]
    real = lengths if tokens is None else tokens

    def loss_of(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        value: Tensor = call_code(
            loss.called,
            loss.function,
            logits,
            labels,
            args={"progress": progress, **args},
            passing=means_no_memory,  # the loop repeats the update with smaller micro-batches
        )
        _check_value(loss.called, value, logits)
        return value

    def logits_of(piece: list[int], progress: float) -> Tensor:
        if draw is not None:
            draw(progress, piece[0])
        return forward(piece)

    def contributions(pieces: list[list[int]], progress: float, batch: Whole | None = None) -> Iterator[Contribution]:
        batch = batch or whole_of(pieces)
        rows = len(batch.order)
        slopes: list[Tensor] | None = None
        whole = torch.zeros(())
        if (len(pieces) > 1 or batch.shared) and not loss.per_example:
            with torch.no_grad():
                logits = batch.gathered([logits_of(piece, progress) for piece in pieces])
            logits.requires_grad_()
            value = loss_of(logits, weighted[batch.order], progress)
            (gradient,) = torch.autograd.grad(value, logits)
            slopes, whole = batch.own(gradient, pieces), value.detach()
        for number, piece in enumerate(pieces):
            logits = logits_of(piece, progress)
            share = len(piece) / rows
            if slopes is None:
                part = loss_of(logits, weighted[piece], progress) * share
                value, backward = part.detach(), part
            else:
                value, backward = whole * share, (logits * slopes[number]).sum()
            right = (logits.argmax(1) == targets[piece].argmax(1)).sum()
            yield Contribution(backward, sums_of(value, right, real[piece], layout.room(lengths[piece])))

    return Objective(lengths, layout, contributions, longest, draws=draw is not None)


def _check_value(called: str, value: Any, logits: Tensor) -> None:
    """Refuse (UserError) what is no scalar tensor, and on a CPU, where nothing waits for it, NaN or infinity from finite logits."""
    if not isinstance(value, Tensor):
        raise UserError(
            f"{called} must return a tensor, the mean of its rows' losses, and returned {type(value).__name__}"
        )
    if value.ndim:
        raise UserError(
            f"{called} must return a scalar, the mean over its rows, and returned shape {list(value.shape)}"
        )
    if logits.requires_grad and not value.requires_grad:
        raise UserError(
            f"{called} has no gradient: its value does not depend on the logits, or was detached (detach, item, no_grad)"
        )
    refuse_own_fault(f"{called} is", value, [logits], "logits", "loss")


def sums_of(loss: Tensor, right: Tensor, tokens: np.ndarray, room: int) -> Sums:
    """The sums of a micro-batch: its part of the loss, the rows whose class is right, and the real `tokens` [rows] in its `room`."""
    return {"loss": loss, "right": right, "rows": len(tokens), "tokens": int(tokens.sum()), "padded": room}
