"""wspo: weak-to-strong preference optimization: the strong model repeats a weak model's change by alignment (Zhu et al. 2025).

Only the chosen texts are read. Both models must have one tokenizer, since the change is compared token by token.
"""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from w2s_cli.objectives import Batch

NEEDS_REFERENCE = True
NEEDS_WEAK = True


def wspo(batch: Batch, *, gamma: Annotated[float, Gt(0)] = 0.1) -> Tensor:
    """Mean over tokens of (γ·[log π − log π_ref] − [log π_weak,aligned − log π_weak,ref])².

    Args:
        batch: texts, with the reference and both weak models.
        gamma: how much of the strong model's change counts as one of the weak model's.
    """
    side = batch.chosen
    assert side.reference is not None
    assert side.aligned is not None
    assert side.unaligned is not None
    own = gamma * (side.policy.tokens - side.reference.tokens)
    difference = own - (side.aligned.tokens - side.unaligned.tokens)  # [tokens]
    return side.policy.per_text(difference**2) / side.policy.lengths
