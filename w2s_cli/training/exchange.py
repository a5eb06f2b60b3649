"""What the processes of a stage tell each other while they share its work.

* Gradients are summed, not averaged: each contribution is already its part of the effective batch's gradient. They are summed after
  the last backward pass of an update. torch's DistributedDataParallel is no use here: it sums within the forward pass of the model that
  it wraps, which objectives do not call (they call the trunk, and the head on some tokens), and it takes means, of equally many
  micro-batches.
* Numbers of the host (flags, tokens, counts) go between the hosts by gloo, so no step waits for a GPU.
* A process without memory must not leave the others in an exchange. So each exchange within an update begins with `agree`, in which
  a process that failed says so: then all leave the update (`Elsewhere`) and repeat it with the smaller micro-batch.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.store.memory import means_no_memory
from w2s_cli.store.ranks import Ranks

NOTHING = 1 << 62  # tokens: no process asks for a smaller micro-batch
BUCKET = 1 << 24  # values of gradients that are exchanged at once


class Elsewhere(Exception):  # noqa: N818 - no error of this process
    """Another process has no memory for its part of the update, and asks for micro-batches of `tokens`."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens


def any_of(ranks: Ranks, *flags: bool) -> list[bool]:
    """Each flag, true where it is true in any process."""
    if ranks.count == 1:
        return list(flags)
    values = torch.tensor([int(flag) for flag in flags])
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return [bool(value) for value in values.tolist()]


def smallest(ranks: Ranks, value: int) -> int:
    """The smallest value of all processes."""
    if ranks.count == 1:
        return value
    values = torch.tensor([value])
    dist.all_reduce(values, dist.ReduceOp.MIN)
    return int(values[0])


def agree(ranks: Ranks) -> None:
    """Go on only if every process can.

    Raises:
        Elsewhere: a process asks for smaller micro-batches.
    """
    if ranks.count > 1 and (tokens := smallest(ranks, NOTHING)) < NOTHING:
        raise Elsewhere(tokens)


def wait_for_all(ranks: Ranks) -> None:
    """Return when every process is here."""
    if ranks.count > 1:
        any_of(ranks, True)


def joined(ranks: Ranks, part: Tensor, start: int, total: int) -> Tensor:
    """The parts of all processes, [total, …]; `part` is that of this process, from place `start`. The order is that of the places.

    Every other place is zero before the sum, so the values keep their bits.
    """
    if ranks.count == 1:
        return part
    whole = part.new_zeros((total, *part.shape[1:]))
    whole[start : start + len(part)] = part
    _sum(whole)
    return whole


def table(ranks: Ranks, part: np.ndarray, rows: Sequence[int], total: int) -> np.ndarray:
    """A table [total, …] of which each process has some `rows`, in `part` [rows, …]."""
    whole = torch.zeros((total, *part.shape[1:]), dtype=torch.float32)
    whole[list(rows)] = torch.from_numpy(np.ascontiguousarray(part))
    _sum(whole)
    return whole.numpy()


def sum_figures(ranks: Ranks, figures: dict[str, Any]) -> dict[str, Any]:
    """Sums of an update over all processes, which have the same names; tensors stay on their device."""
    if ranks.count == 1:
        return figures
    here = [name for name, value in sorted(figures.items()) if not isinstance(value, Tensor)]
    there = [name for name in sorted(figures) if name not in here]
    host = torch.tensor([float(figures[name]) for name in here], dtype=torch.float64)
    _sum(host)
    sums: dict[str, Any] = dict(zip(here, host.tolist(), strict=True))
    if there:
        device = torch.stack([figures[name].double() for name in there])
        _sum(device)
        sums |= dict(zip(there, device.unbind(), strict=True))
    return {name: sums[name] for name in figures}


def sum_gradients(ranks: Ranks, parameters: Iterable[nn.Parameter]) -> None:
    """Give every parameter the sum of its gradients in all processes; one that has a gradient in none keeps none.

    Raises:
        UserError: no memory for the exchange.
    """
    trained = list(parameters)
    if not trained:
        return
    has = any_of(ranks, *(parameter.grad is not None for parameter in trained))
    waiting: dict[torch.dtype, list[Tensor]] = {}
    try:
        for parameter, learned in zip(trained, has, strict=True):
            if not learned:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket = waiting.setdefault(parameter.grad.dtype, [])
            bucket.append(parameter.grad)
            if sum(gradient.numel() for gradient in bucket) >= BUCKET:
                _sum_together(waiting.pop(parameter.grad.dtype))
        for bucket in waiting.values():
            _sum_together(bucket)
    except Exception as error:
        if not means_no_memory(error):
            raise
        raise UserError(
            "not enough memory to exchange the gradients between the processes of the stage: fewer processes, or launcher.fsdp=true"
        ) from error


def _sum_together(gradients: list[Tensor]) -> None:
    """Sum some gradients by one exchange; a large one without a copy."""
    if len(gradients) == 1 and gradients[0].is_contiguous():
        _sum(gradients[0])
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    _sum(flat)
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def _sum(values: Tensor) -> None:
    dist.all_reduce(values, dist.ReduceOp.SUM)


def from_first(ranks: Ranks, make: Callable[[], Any]) -> Any:
    """What `make` gives in rank 0 (JSON), in every process."""
    if ranks.count == 1:
        return make()
    content = json.dumps(make()).encode() if not ranks.rank else b""
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0)
    data = (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if content
        else torch.zeros(int(size), dtype=torch.uint8)
    )
    dist.broadcast(data, 0)
    return json.loads(bytes(data.tolist()))
