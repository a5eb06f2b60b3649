"""text: the next-token loss on whole texts, prompt and completion alike, without a distinction (continued pretraining)."""

from torch import Tensor

from w2s_cli.objectives import Batch

WHOLE = True


def text(batch: Batch) -> Tensor:
    """−log π(text), divided by the mean length of a text."""
    return -batch.chosen.policy.sums / batch.mean_length
