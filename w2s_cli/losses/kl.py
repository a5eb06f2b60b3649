"""Kullback-Leibler divergence of the student from the weak labels (card of EleutherAI/w2s; Hinton et al. 2015).

KL(f ‖ p) = xent − H(f), and H(f) does not depend on the student: the gradient equals that of `xent`, only the value differs. The value is
0 if the student repeats the supervisor, so its curve shows the distance from the labels.
"""

import torch
from torch import Tensor

PER_EXAMPLE = True


def kl(logits: Tensor, labels: Tensor, *, progress: float) -> Tensor:
    """Mean over rows of Σ_c f_c (log f_c − log p_c), in nats, with 0 log 0 = 0; logits and labels are [rows, classes]."""
    return (torch.xlogy(labels, labels) - labels * logits.log_softmax(-1)).sum(-1).mean()
