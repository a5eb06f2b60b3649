"""Confidence window: the student learns only from rows with an unsure prediction (EleutherAI/w2s, 2024).

    loss = (1 / rows) · Σ over rows with max_c p_c < 0.5 + radius of xent(f, p)

* The divisor is the number of all rows of the batch, so updates shrink as the student becomes sure.
* radius="midweak": the median over all weak labels of (largest probability − 0.5); for two classes |y − 0.5|, with the label y of class
  1. Learning on a row then stops at the supervisor's median confidence. With hard labels the radius is 0.5: all rows, except rows
  whose p rounds to 1.
* More than two classes: the same rule, 0.5 + radius on the largest probability.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from w2s_cli.errors import UserError

PER_EXAMPLE = True


def window(logits: Tensor, labels: Tensor, *, progress: float, radius: float | Literal["midweak"] = 0.15) -> Tensor:
    """Sum over the uncertain rows divided by all rows, in nats; logits and labels are [rows, classes].

    Raises:
        UserError: `radius` is not a number ("midweak" is replaced by `prepare`).
    """
    if isinstance(radius, str):
        raise UserError(f'window: radius={radius} is unknown; use a number or "midweak"')
    own = logits.log_softmax(-1)  # [rows, classes]
    uncertain = own.detach().exp().amax(-1) < 0.5 + radius  # [rows]
    return (-(labels * own).sum(-1)).where(uncertain, 0.0).mean()


def prepare(labels: Tensor, *, radius: float | str = 0.15) -> dict[str, Any]:
    """The arguments, with a number for "midweak"; `labels` [rows, classes] are all labels of the training."""
    if radius == "midweak":
        radius = float(torch.quantile(labels.double().amax(-1) - 0.5, 0.5)) if len(labels) else 0.0
    return {"radius": radius}
