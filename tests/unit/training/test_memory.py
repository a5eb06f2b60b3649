"""What a training keeps for its backward pass is that of one micro-batch, whatever the effective batch and the loss.

And a worker keeps what it has freed for the next micro-batch.
"""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import environment
from tests.unit.training.test_packed import opened
from w2s_cli.losses import load_loss
from w2s_cli.training.models import forward_pass
from w2s_cli.training.objectives import classification
from w2s_cli.training.tokens import TokenRows


class Kept:
    """A tensor that autograd keeps, counted while it is alive."""

    now = most = 0

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
        Kept.now += self.bytes
        Kept.most = max(Kept.most, Kept.now)

    def __del__(self) -> None:
        Kept.now -= self.bytes


def most_kept(model: Any, batch: int, loss: str) -> int:
    """Bytes that autograd holds at most during an update of `batch` rows of 30 tokens."""
    ids = np.random.default_rng(0).integers(0, 90, (batch, 30)).astype(np.int32)
    tokens = TokenRows(list(ids), np.full(batch, 30), 0)

    def forward(piece: list[int]) -> torch.Tensor:
        return forward_pass.on_rows(model, tokens, piece, layout, "fp32")

    p = torch.rand(batch, generator=torch.Generator().manual_seed(0))
    targets, layout = torch.stack([1 - p, p], 1), forward_pass.layout_for(model, tokens, "fp32")
    objective = classification.objective(forward, tokens.taken(layout), targets, load_loss(loss), {}, layout=layout)
    Kept.now = Kept.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        for part in objective.parts(objective.cut(range(batch), 240), 0.5):
            part.backward.backward()  # type: ignore[no-untyped-call]
    assert Kept.most > 0
    return Kept.most


@pytest.mark.parametrize("family", ["gpt2", "bert"])  # packed and padded
@pytest.mark.parametrize("loss", ["xent", "logconf", "product"])
def test_what_is_kept_does_not_grow_with_the_effective_batch(tmp_path: Path, family: str, loss: str) -> None:
    model = opened(tmp_path, family).train()
    small, large = most_kept(model, 8, loss), most_kept(model, 256, loss)
    assert large <= 1.05 * small


FREED_AND_ASKED_FOR = """
import resource, sys
import numpy as np
from w2s_cli.run.process import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
for round in range(21):
    activations = [np.ones(1 << 20, dtype=np.float32) for _ in range(16)]  # 4 MiB each
    del activations
    if round == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_worker_keeps_freed_memory_for_the_next_micro_batch() -> None:
    def pages_asked_for(how: str) -> int:
        words = [sys.executable, "-c", FREED_AND_ASKED_FOR, how]
        return int(subprocess.run(words, env=environment(), capture_output=True, text=True, check=True).stdout)

    assert pages_asked_for("kept") < 1000 < pages_asked_for("given back")
