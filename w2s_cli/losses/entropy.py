"""Cross-entropy with an entropy penalty, which asks the student for confident predictions.

    loss = (1 − a) · xent(f, p) + a · H(p),   a rising linearly from 0 to alpha over the first `warmup` of training

Source: the text of EleutherAI's post on weak-to-strong generalization (2024). The gradient goes through p in H(p): its part is
a · (−p_k (log p_k + H(p))), which pushes a student away from 1/2. The post's code stops this gradient: `entropy_detached`.
"""

from torch import Tensor

PER_EXAMPLE = True


def entropy(logits: Tensor, labels: Tensor, *, progress: float, alpha: float = 0.5, warmup: float = 0.2) -> Tensor:
    """Mean loss over rows in nats; logits and labels are [rows, classes], warmup is a share of training."""
    weight = alpha * (min(1.0, progress / warmup) if warmup > 0 else 1.0)
    own = logits.log_softmax(-1)  # [rows, classes]
    target = (1 - weight) * labels + weight * own.exp()
    return -(target * own).sum(-1).mean()
