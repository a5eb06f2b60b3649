"""Auxiliary confidence loss: the target moves from the weak label towards the student's own hardened prediction.

    target = (1 − a) · f + a · h,   h = 1[p(class 1) > t],   no gradient through h

(Burns et al. 2023, section 4.3 and appendix A.4; "logconf" in the reference code.) The threshold t is not a number but a
count: how many rows of the effective batch are hardened to class 1.

* share="half": half of the batch, the paper's rule for balanced data.
* share="labels": as many as the mean weak label of class 1 says, the reference code's quantile: ceil(mean · (rows − 1)).
* Rows with equal p at the threshold share what is left of the count, so the count is met with ties too. At the first
  step all p are equal (the head starts at 0): the quantile of the reference code then hardens every row to class 0.
* ramp="linear": a rises from 0 to alpha over the first `warmup` of training. ramp="jump": the reference code's schedule;
  a is alpha · progress up to `warmup` and then jumps to alpha.
"""

import math

import torch
from torch import Tensor

from w2s_cli.errors import UserError

PER_EXAMPLE = False  # the count is over the effective batch


def logconf(
    logits: Tensor,
    labels: Tensor,
    *,
    progress: float,
    alpha: float = 0.75,
    warmup: float = 0.2,
    ramp: str = "linear",
    share: str = "half",
) -> Tensor:
    """Mean loss over the effective batch in nats; logits and labels are [rows, 2].

    Raises:
        UserError: more than two classes, or an unknown `ramp` or `share`.
    """
    if logits.shape[1] != 2:
        raise UserError(f"logconf hardens one class against the other; with {logits.shape[1]} classes use loss=xent")
    match ramp:
        case "linear":
            weight = alpha * (min(1.0, progress / warmup) if warmup > 0 else 1.0)
        case "jump":
            weight = alpha * (1.0 if progress > warmup else progress)
        case _:
            raise UserError(f'logconf: ramp={ramp} is unknown; use "linear" or "jump"')
    with torch.no_grad():
        rows = len(logits)
        match share:
            case "half":
                count = rows / 2
            case "labels":
                count = float(math.ceil(float(labels[:, 1].mean()) * (rows - 1) - 1e-5))
            case _:
                raise UserError(f'logconf: share={share} is unknown; use "half" or "labels"')
        confidence = logits[:, 1] - logits[:, 0]  # [rows], rises with p(class 1) and has no ties by rounding near 1
        above = (confidence[None, :] > confidence[:, None]).sum(1)  # [rows] rows that go first
        ties = (confidence[None, :] == confidence[:, None]).sum(1)  # [rows] itself included
        hard = ((count - above.to(labels)) / ties).clamp(0, 1)  # [rows] 1 above the threshold, 0 below, a share at it
        target = (1 - weight) * labels + weight * torch.stack([1 - hard, hard], dim=1)
    return -(target * logits.log_softmax(-1)).sum(-1).mean()
