"""Confidence window: the student learns only from rows that it is not sure about yet (EleutherAI/w2s, 2024).

    loss = (1 / rows) · Σ over rows with max_c p_c < 0.5 + radius of xent(f, p)

* The sum is divided by all rows of the batch, so an update shrinks as the student makes up its mind.
* radius="midweak": the median of |y − 0.5| over all weak labels it is trained on, y being the label of class 1; in general the
  median of (largest probability − 0.5). The student then stops where it is as sure as the supervisor typically is. With hard
  labels that is 0.5: all rows, except where p rounds to 1.
* More than two classes: the same rule, 0.5 + radius on the largest probability.
"""

from typing import Any

import torch
from torch import Tensor

from w2s_cli.errors import UserError

PER_EXAMPLE = True


def window(logits: Tensor, labels: Tensor, *, progress: float, radius: float | str = 0.15) -> Tensor:
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
    """The arguments with "midweak" replaced by its number; `labels` [rows, classes] are all labels of the training."""
    if radius == "midweak":
        radius = float(torch.quantile(labels.double().amax(-1) - 0.5, 0.5)) if len(labels) else 0.0
    return {"radius": radius}
