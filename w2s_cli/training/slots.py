"""The slots of an optimizer, its tensors and numbers of each weight, as a checkpoint has them: torch's, and those of bitsandbytes.

* Adam of torch has a step and two moments. bitsandbytes counts steps in an int, and has moments in 8 bits, their scales, and tables of
  values that all weights share. Its `state_dict` has another form than torch's, so the slots themselves are read and set.
* Moments that live on the host (`offload.py`) go there from a checkpoint without a stay on the device.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

TABLE = 256  # most values of a table that weights share


def weights_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The optimizer's weights, by their number in a checkpoint."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def to_tensor(value: Any) -> Tensor:
    """A slot as a tensor with memory of its own where others may share it; large ones are not copied."""
    return value.clone() if isinstance(value, Tensor) and value.numel() <= TABLE else torch.as_tensor(value)


def restore(optimizer: torch.optim.Optimizer, stored: Mapping[int, dict[str, Tensor]], *, on_host: bool) -> None:
    """Give the optimizer the slots `stored`: number of a weight → name → tensor; `on_host`: they stay in the host's memory."""
    slots: dict[int, dict[str, Any]] = {
        number: {name: value if value.dtype != torch.int64 else int(value) for name, value in own.items()}
        for number, own in stored.items()
    }
    counted = any(isinstance(own.get("step"), int) for own in slots.values())  # by bitsandbytes
    if not counted and not on_host:
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    for number, weight in enumerate(weights_of(optimizer)):
        device = torch.device("cpu") if on_host else weight.device
        own = slots.get(number, {})
        optimizer.state[weight] = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in own.items()
        }
