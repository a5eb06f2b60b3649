"""Adaptive confidence distillation: each row weighs the supervisor against the student's own hardened prediction ("AdaptConf",
Guo et al. 2024, Vision Superalignment, arXiv 2402.03749).

    loss = w · mean over rows of (1 − b) · KD(p, f) + b · CE(p, ŷ_p)
    b    = e^(s·CE(p, ŷ_p)/T) / (e^(s·CE(p, ŷ_p)/T) + e^(s·CE(p, ŷ_f)/T)),   no gradient through b

ŷ_p and ŷ_f are the classes of the student and of the supervisor, KD the divergence KL(f ‖ p) at a temperature, times its square.

* sign=1 is the authors' code. b is at most 1/2; it is 1/2 where student and supervisor agree, and falls where the student is sure of
  another class, so these rows follow the supervisor. sign=-1 is the opposite: a student that is sure of another class keeps it.
* The paper's further cross-entropy against the ground truth is left out, because a student has no ground truth. `weight` is w.
* `warmup`: b rises linearly to its value over that share of training (0: from the start).
"""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import cross_entropy

from w2s_cli.errors import UserError

PER_EXAMPLE = True


def adaptconf(
    logits: Tensor,
    labels: Tensor,
    *,
    progress: float,
    T: Annotated[float, Gt(0)] = 0.5,  # noqa: N803 (the paper's name)
    weight: float = 1.0,
    temperature: Annotated[float, Gt(0)] = 1.0,
    sign: Annotated[float, Literal[1, -1]] = 1.0,
    warmup: float = 0.0,
) -> Tensor:
    """Mean loss over rows in nats; logits and labels are [rows, classes].

    Raises:
        UserError: T or temperature is not positive, or sign is neither 1 nor -1.
    """
    if T <= 0 or temperature <= 0:
        raise UserError(f"adaptconf: T={T} and temperature={temperature} must be positive")
    if sign not in (1.0, -1.0):
        raise UserError(f"adaptconf: sign={sign} must be 1 (the authors' code) or -1 (turned round)")
    own_loss = cross_entropy(logits, logits.argmax(-1), reduction="none")  # [rows] CE(p, ŷ_p)
    with torch.no_grad():
        label_loss = cross_entropy(logits, labels.argmax(-1), reduction="none")  # [rows] CE(p, ŷ_f)
        share = torch.sigmoid(sign * (own_loss - label_loss) / T)  # [rows] b
        share = share * (min(1.0, progress / warmup) if warmup > 0 else 1.0)
        target = (labels.log() / temperature).softmax(-1)  # [rows, classes] f at the temperature
    divergence = (torch.xlogy(target, target) - target * (logits / temperature).log_softmax(-1)).sum(-1)  # [rows]
    return weight * ((1 - share) * temperature**2 * divergence + share * own_loss).mean()
