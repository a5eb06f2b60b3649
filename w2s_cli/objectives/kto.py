"""kto: Kahneman-Tversky optimization (Ethayarajh et al. 2024, equation 8), on both texts of a pair as single verdicts.

The point of comparison is an estimate of KL(π ‖ π_ref) over the effective batch, from the texts of other prompts, without a gradient.
"""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor, sigmoid

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True
NEEDS_REFERENCE = True
NEEDS_KL = True


def kto(
    batch: Batch,
    *,
    beta: Annotated[float, Gt(0)] = 0.1,
    desirable: Annotated[float, Ge(0)] = 1.0,
    undesirable: Annotated[float, Ge(0)] = 1.0,
) -> Tensor:
    """λ_D·(1 − σ(β·[gain(chosen) − z])) + λ_U·(1 − σ(β·[z − gain(rejected)])), halved: the mean over the two texts.

    Args:
        batch: pairs with a reference and the estimate z.
        beta: how soon a gain is enough.
        desirable, undesirable: λ_D and λ_U.
    """
    assert batch.kl is not None
    good = desirable * (1 - sigmoid(beta * (batch.chosen.gain - batch.kl)))
    bad = undesirable * (1 - sigmoid(beta * (batch.kl - batch.worse.gain)))
    return (good + bad) / 2
