"""orpo: odds ratio preference optimization, without a reference (Hong et al. 2024, equations 6 and 7)."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, log1p
from torch.nn.functional import logsigmoid

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True


def orpo(batch: Batch, *, weight: Annotated[float, Ge(0)] = 0.1) -> Tensor:
    """−mean log π(chosen) − λ·log σ(log odds(chosen) − log odds(rejected)), with odds = p/(1 − p) and p = exp(mean log π).

    Args:
        batch: pairs.
        weight: λ.
    """
    chosen, rejected = batch.chosen.policy.means, batch.worse.policy.means
    odds = (chosen - rejected) - (log1p(-chosen.exp()) - log1p(-rejected.exp()))
    return -chosen - weight * logsigmoid(odds)
