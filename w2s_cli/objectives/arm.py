"""arm: an autoregressive reward model, whose log-probability is the reward of a text (GenARM, Xu et al. 2024, equation 6)."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import softplus

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True


def arm(batch: Batch, *, beta: Annotated[float, Gt(0)] = 0.05) -> Tensor:
    """−log σ(β_r·[log π_r(chosen) − log π_r(rejected)]), without a reference.

    Args:
        batch: pairs.
        beta: β_r.
    """
    return softplus(-beta * (batch.chosen.policy.sums - batch.worse.policy.sums))
