"""simpo: simple preference optimization, without a reference (Meng et al. 2024, equation 6)."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import softplus

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True


def simpo(batch: Batch, *, beta: Annotated[float, Gt(0)] = 2.0, margin: Annotated[float, Ge(0)] = 1.0) -> Tensor:
    """−log σ(β·[mean log π(chosen) − mean log π(rejected)] − γ).

    Args:
        batch: pairs.
        beta: scale of the rewards.
        margin: γ.
    """
    return softplus(margin - beta * (batch.chosen.policy.means - batch.worse.policy.means))
