"""dpo_norm: dpo on log-probabilities per token (Tülu 3, Lambert et al. 2024; the loss of delta learning, Geng et al. 2025)."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import softplus

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True
NEEDS_REFERENCE = True


def dpo_norm(batch: Batch, *, beta: Annotated[float, Gt(0)] = 5.0) -> Tensor:
    """−log σ(β·[(log π − log π_ref)(chosen)/|chosen| − (log π − log π_ref)(rejected)/|rejected|])."""
    return softplus(-beta * (batch.chosen.mean_gain - batch.worse.mean_gain))
