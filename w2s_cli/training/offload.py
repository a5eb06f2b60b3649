"""`launcher.offload_optimizer=true`: the moments of the optimizer live in the host's memory, and visit the device one weight at a time.

* The update itself runs on the device, by torch's own step on one weight after the other. So the weights are those of a training without
  it, bit for bit: it is no part of a key. On a CPU, whose memory is the host's, nothing changes.
* The host's copies are pinned, so that the transfer of a GPU waits for nothing else. A checkpoint reads them where they are.
"""

from typing import Any

import torch
from torch import Tensor


def offloaded(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer, whose `step` leaves all moments on the host."""
    own = optimizer.step

    def step(closure: None = None) -> None:
        groups = optimizer.param_groups
        try:
            for group in groups:
                for weight in group["params"]:
                    if weight.grad is None:
                        continue
                    _move(optimizer.state[weight], weight.device)
                    optimizer.param_groups = [{**group, "params": [weight]}]
                    own()
                    _move(optimizer.state[weight], torch.device("cpu"))
        finally:
            optimizer.param_groups = groups

    optimizer.step = step  # type: ignore[method-assign, assignment]
    return optimizer


def _move(slots: dict[str, Any], device: torch.device) -> None:
    """Move an optimizer's tensors of one weight to `device`; to the host, from a GPU, into pinned memory."""
    for name, value in slots.items():
        if isinstance(value, Tensor) and value.device != device:
            there = torch.empty_like(value, device=device, pin_memory=value.is_cuda)
            slots[name] = there.copy_(value)
