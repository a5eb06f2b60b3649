"""Cross-entropy against the product of the student's and the supervisor's probabilities ("product" in the W2SG reference code).

The target is ∝ p^beta · f^alpha, with the student's probabilities p and the weak label f, renormalised and without a gradient. A
confident student keeps its prediction where the supervisor is unsure.
"""

import torch
from torch import Tensor

PER_EXAMPLE = True


def product(logits: Tensor, labels: Tensor, *, progress: float, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Mean loss over rows in nats; `alpha` weighs the labels, `beta` the student; logits, labels [rows, classes]."""
    own = logits.log_softmax(-1)  # [rows, classes]
    with torch.no_grad():
        # xlogy: a label of 0 rules a class out, unless alpha is 0
        target = (beta * own + torch.xlogy(labels.new_tensor(alpha), labels)).softmax(-1)
    return -(target * own).sum(-1).mean()
