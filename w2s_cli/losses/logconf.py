"""Auxiliary confidence loss: the target moves from the weak label to the student's own hardened prediction.

    target = (1 − a) · f + a · h,   h = 1[p(class 1) > t],   no gradient through h

Source: Burns et al. 2023, section 4.3 and appendix A.4; "logconf" in the reference code. A count gives the threshold t: the number of
rows of the effective batch that are hardened to class 1.

* share="half": half of the batch, the paper's rule for balanced data.
* share="labels": the share of the mean weak label of class 1, as the reference code's quantile: ceil(mean · (rows − 1)).
* Rows with equal p at the threshold divide the rest of the count among them, so the count is exact with ties too. At the first step all
  p are equal (the head starts at 0); the quantile of the reference code then hardens every row to class 0.
* balance=True (`balance_batch` of EleutherAI/w2s): first the mean log-odds of the batch is subtracted from every label,
  y ← sigmoid(logit(y) − mean logit(y)), and the share of class 1 is one half. This corrects a supervisor that prefers one class. A batch
  of one row uses the mean over all labels of the training, because with its own mean its label would be 1/2.
* ramp="linear": a rises from 0 to alpha over the first `warmup` of training. ramp="jump", the reference code's schedule: a is
  alpha · progress up to `warmup`, then alpha.
"""

import math
from typing import Any, Literal

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
    ramp: Literal["linear", "jump"] = "linear",
    share: Literal["half", "labels"] = "half",
    balance: bool = False,
    center: float | None = None,
) -> Tensor:
    """Mean loss over the effective batch in nats; logits and labels are [rows, 2]. `center` comes from `prepare`.

    Raises:
        UserError: more than two classes, an unknown `ramp` or `share`, or one row to balance without a `center`.
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
        if balance:
            labels = _balanced(labels, center)
        match share:
            case "half":
                count = rows / 2
            case "labels":
                count = float(math.ceil((0.5 if balance else float(labels[:, 1].mean())) * (rows - 1) - 1e-5))
            case _:
                raise UserError(f'logconf: share={share} is unknown; use "half" or "labels"')
        confidence = logits[:, 1] - logits[:, 0]  # [rows], rises with p(class 1), without ties from rounding near 1
        above = (confidence[None, :] > confidence[:, None]).sum(1)  # [rows] number of rows with more confidence
        ties = (confidence[None, :] == confidence[:, None]).sum(
            1
        )  # [rows] number of rows with equal confidence, itself included
        hard = ((count - above.to(labels)) / ties).clamp(
            0, 1
        )  # [rows] 1 above the threshold, 0 below, a share at the threshold
        target = (1 - weight) * labels + weight * torch.stack([1 - hard, hard], dim=1)
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


def prepare(labels: Tensor, **args: Any) -> dict[str, Any]:
    """The arguments; for balance=True with the mean log-odds of all `labels` of the training, [rows, 2], as `center`."""
    if not args.get("balance") or labels.shape[1] != 2:
        return args
    return {**args, "center": float(_log_odds(labels.double()).mean())}


def _balanced(labels: Tensor, center: float | None) -> Tensor:
    """Labels [rows, 2] whose mean log-odds are 0."""
    odds = _log_odds(labels)  # [rows]
    if len(odds) > 1:
        middle = odds.mean()
    elif center is not None:
        middle = odds.new_tensor(center)
    else:
        raise UserError("logconf: balance=true cannot balance a batch of one row; use a larger batch_size")
    y = torch.sigmoid(odds - middle)  # [rows]
    return torch.stack([1 - y, y], dim=1)


def _log_odds(labels: Tensor) -> Tensor:
    """log(y / (1 − y)) of class 1, [rows]; the 1e-7 of the reference code keeps hard labels finite."""
    return torch.log(labels[:, 1] + 1e-7) - torch.log(labels[:, 0] + 1e-7)
