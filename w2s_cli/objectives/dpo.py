"""dpo: direct preference optimization (Rafailov et al. 2023, equation 7); with smoothing conservative DPO (Mitchell 2023)."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn.functional import softplus

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True
NEEDS_REFERENCE = True


def dpo(
    batch: Batch, *, beta: Annotated[float, Gt(0)] = 0.1, smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
) -> Tensor:
    """−log σ(β·[(log π − log π_ref)(chosen) − (log π − log π_ref)(rejected)]).

    Args:
        batch: pairs with a reference.
        beta: strength of the pull to the reference.
        smoothing: probability that a pair is the wrong way round.
    """
    margin = beta * (batch.chosen.gain - batch.worse.gain)
    return (1 - smoothing) * softplus(-margin) + smoothing * softplus(margin)
