"""sft: the mean negative log-likelihood of a completion token, over the effective batch (supervised finetuning)."""

from torch import Tensor

from w2s_cli.objectives import Batch


def sft(batch: Batch) -> Tensor:
    """−log π(y|x), divided by the mean length of a completion: the mean over rows is then the mean over tokens."""
    return -batch.chosen.policy.sums / batch.mean_length
