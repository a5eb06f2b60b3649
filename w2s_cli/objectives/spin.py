"""spin: self-play finetuning against the last iterate, whose texts are the rejected ones (Chen et al. 2024, equation 4.7)."""

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import relu, softplus

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True
NEEDS_REFERENCE = True


def spin(batch: Batch, *, beta: Annotated[float, Gt(0)] = 0.1, loss: Literal["sigmoid", "hinge"] = "sigmoid") -> Tensor:
    """ℓ(λ·[(log π − log π_t)(chosen) − (log π − log π_t)(own)]).

    Args:
        batch: pairs with a reference, the opponent π_t.
        beta: λ.
        loss: ℓ(z) = log(1 + exp(−z)), or the hinge max(0, 1 − z).
    """
    margin = beta * (batch.chosen.gain - batch.worse.gain)
    return softplus(-margin) if loss == "sigmoid" else relu(1 - margin)
