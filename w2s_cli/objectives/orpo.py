"""orpo: odds ratio preference optimization, without a reference (Hong et al. 2024, equations 6 and 7).

1 − p is computed as −expm1(log p): where a text is known by heart, p rounds to 1, and 1 − p would have no digits.
"""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import logsigmoid

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True
_SURE = -1e-7  # mean log p above which p counts as this sure: the odds of p = 1 are infinite


def orpo(batch: Batch, *, weight: Annotated[float, Ge(0)] = 0.1) -> Tensor:
    """−mean log π(chosen) − λ·log σ(log odds(chosen) − log odds(rejected)), with odds = p/(1 − p) and p = exp(mean log π).

    Args:
        batch: pairs.
        weight: λ.
    """
    chosen, rejected = batch.chosen.policy.means, batch.worse.policy.means
    return -chosen - weight * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _log_odds(log_p: Tensor) -> Tensor:
    sure = log_p.clamp(max=_SURE)
    return sure - (-sure.expm1()).log()
