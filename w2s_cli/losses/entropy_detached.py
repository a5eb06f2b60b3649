"""The "entropy" loss of the code of EleutherAI/w2s: the target holds the student's own prediction, without a gradient through it.

    loss = −Σ_c ((1 − a) f_c + a stopgrad(p_c)) log p_c

Its gradient with respect to the logits is p − ((1 − a) f + a p) = (1 − a)(p − f): exactly (1 − a) times the gradient of `xent`, without
a confidence term. A common factor hardly changes Adam, so results should equal those of xent up to effects of weight decay, clipping
and warm-up. This loss serves to reproduce published figures. The loss in the post's text is `entropy`.
"""

from torch import Tensor

PER_EXAMPLE = True


def entropy_detached(
    logits: Tensor, labels: Tensor, *, progress: float, alpha: float = 0.5, warmup: float = 0.2
) -> Tensor:
    """Mean loss over rows in nats; logits and labels are [rows, classes], warmup is a share of training."""
    weight = alpha * (min(1.0, progress / warmup) if warmup > 0 else 1.0)
    own = logits.log_softmax(-1)  # [rows, classes]
    target = (1 - weight) * labels + weight * own.detach().exp()
    return -(target * own).sum(-1).mean()
