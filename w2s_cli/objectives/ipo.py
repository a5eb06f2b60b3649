"""ipo: identity preference optimization (Azar et al. 2023, equation 17): the margin is drawn to 1/(2β), and not beyond."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from w2s_cli.objectives import Batch

NEEDS_PAIRS = True
NEEDS_REFERENCE = True


def ipo(batch: Batch, *, beta: Annotated[float, Gt(0)] = 0.1, per_token: bool = False) -> Tensor:
    """([(log π − log π_ref)(chosen) − (log π − log π_ref)(rejected)] − 1/(2β))².

    Args:
        batch: pairs with a reference.
        beta: the smaller, the larger the margin.
        per_token: log-probabilities per token, as in the library TRL; the paper has whole texts.
    """
    chosen, rejected = batch.chosen, batch.worse
    margin = chosen.mean_gain - rejected.mean_gain if per_token else chosen.gain - rejected.gain
    return (margin - 1 / (2 * beta)) ** 2
