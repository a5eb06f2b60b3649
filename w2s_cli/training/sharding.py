"""A training whose weights, gradients and optimizer state lie in parts on the processes of its stage (FSDP2, `launcher.fsdp`).

* torch's `fully_shard` collects a layer's weights before its passes and gives each process its part of the gradients, summed. Each layer
  is a part of its own, and the rest of the trunk another. What is used outside of the trunk's forward pass stays whole in every
  process: the head, and an embedding that is also the output layer. Its gradients are summed as without parts.
* Numbers are those of one process: trained weights are collected in fp32, and autocast computes as ever.
* No device has the whole model at any time. Each process opens it on the host, where a weight in the type of its file is a part of the
  mapped file, one copy for all processes. Layer by layer a trained weight becomes fp32, and its part goes to the device.
* Autocast keeps no casts of weights meanwhile (its cache): they would be the whole model in bf16. With gradient checkpointing the backward
  pass keeps none either.
* The optimizer works on the plain tensors that a process has (`local`), so any optimizer serves that treats each value by itself.
* At the end rank 0 has the whole model as a plain module, on the host, or on its device if that has room for it: what `fully_shard` changed
  is changed back.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from w2s_cli.store.memory import give_back_much
from w2s_cli.store.ranks import Ranks
from w2s_cli.training.models import bf16
from w2s_cli.training.models.mapped import let_go
from w2s_cli.training.models.trunk import layers

PASSES = 1.2  # of a model's bytes: with its activations over a few rows
Span = tuple[int, int, int]  # first row, end, rows of the whole tensor


def local(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process has, in the same memory; a whole tensor itself."""
    part: Tensor = tensor.detach().to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[attr-defined]
    return part


class Sharding:
    """The parts of a model's trainable parameters; without parts it is empty, and everything goes on as ever."""

    def __init__(self, model: nn.Module, ranks: Ranks, device: torch.device | None = None) -> None:
        """Share out the weights of `model`, which lie on the host, on the `device` of each process, in place; None: no parts."""
        self.model, self.ranks, self._device = model, ranks, device
        self._before: list[tuple[nn.Module, type, dict[str, Any]]] = []
        if device is not None:
            self._before = [_kept(module) for module in model.modules()]
            torch.set_autocast_cache_enabled(False)
            _shard(model, ranks, device)
        self._locals: dict[int, nn.Parameter] = {}  # id of a parameter in parts → its part, which the optimizer has
        self._names: dict[int, str] = {}  # id of such a part → name
        self._spans: dict[str, Span] = {}
        for name, parameter in model.named_parameters():
            if _in_parts(parameter):
                part = nn.Parameter(local(parameter), requires_grad=parameter.requires_grad)
                self._locals[id(parameter)], self._names[id(part)] = part, name
                self._spans[name] = span(len(parameter), ranks)

    @property
    def used(self) -> bool:
        """Whether weights lie in parts."""
        return bool(self._before)

    def optimized(self, parameter: nn.Parameter) -> nn.Parameter:
        """What the optimizer has of a parameter."""
        return self._locals.get(id(parameter), parameter)

    def span(self, name: str) -> Span | None:
        """The rows that this process has of the parameter `name`; None: all of them."""
        return self._spans.get(name)

    def span_of(self, optimized: nn.Parameter) -> Span | None:
        """As `span`, of what the optimizer has."""
        return self._spans.get(self._names.get(id(optimized), ""))

    def give_gradients(self, max_norm: float | None) -> None:
        """Give the optimizer the gradients, scaled down to the global norm `max_norm`."""
        if not self.used:
            if max_norm is not None:
                nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], max_norm)
            return
        gradients = []
        squares = torch.zeros((), device=next(self.model.parameters()).device)
        for parameter in self._learned(in_parts=True):
            part = self._locals[id(parameter)]
            part.grad = local(parameter.grad)  # type: ignore[arg-type]
            gradients.append(part.grad)
            squares += part.grad.float().square().sum()
        if max_norm is None:
            return
        torch.distributed.all_reduce(squares)
        for parameter in self._learned(in_parts=False):
            assert parameter.grad is not None
            gradients.append(parameter.grad)
            squares += parameter.grad.float().square().sum()
        factor = (max_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_
        for gradient in gradients:
            gradient.mul_(factor)

    def whole_parameters(self) -> Iterator[nn.Parameter]:
        """The trainable parameters whose gradients are not summed by the backward pass."""
        return (p for p in self.model.parameters() if p.requires_grad and not _in_parts(p))

    def _learned(self, *, in_parts: bool) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.grad is not None and _in_parts(p) is in_parts]

    def collect(self) -> None:
        """Make the model of rank 0 whole and plain again; the models of other ranks cannot be used any more."""
        if not self.used:
            return
        assert self._device is not None
        torch.set_autocast_cache_enabled(True)
        whole: dict[int, nn.Parameter] = {}
        for module in self.model.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is None or not _in_parts(parameter):
                    continue
                if id(parameter) not in whole:
                    full = parameter.detach().full_tensor()  # type: ignore[attr-defined]
                    if self.ranks.rank:
                        continue
                    whole[id(parameter)] = nn.Parameter(full.cpu(), requires_grad=parameter.requires_grad)
                module._parameters[name] = whole[id(parameter)]
        for module, kind, state in self._before:
            module.__class__ = kind
            for name in set(vars(module)) - set(state):
                del vars(module)[name]
            for name, value in state.items():
                if name.endswith(_HOOKS):
                    vars(module)[name] = value
        if not self.ranks.rank:
            self.model.to(_with_room(self._device, sum(one.nbytes for one in self.model.parameters())))
        self._before, self._locals, self._names, self._spans = [], {}, {}, {}


_HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")


def _kept(module: nn.Module) -> tuple[nn.Module, type, dict[str, Any]]:
    """A module, its class, and what it has, with copies of its hooks."""
    state = {name: type(value)(value) if name.endswith(_HOOKS) else None for name, value in vars(module).items()}
    return module, type(module), state


def _shard(model: Any, ranks: Ranks, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks.count,))
    trunk = model.base_model
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    outside = set() if output is None else {output.weight}
    in_files: dict[int, bool] = {}
    weights = bf16.parts(model, experts=True)
    for part in [*layers(trunk), trunk]:
        inside = set(part.modules())
        for module, name in weights:
            if module in inside and getattr(module, name).requires_grad:
                bf16.widen_weight(module, name)
        opened = [parameter.data for parameter in part.parameters() if not _in_parts(parameter)]
        # the trunk too: else its weights would be whole after a pass without gradients, until the next backward pass
        fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=outside)
        part.set_gradient_divide_factor(1.0)  # a sum; fully_shard takes the mean
        part.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
        while opened:
            let_go(opened.pop(), in_files)
    for parameter in model.parameters():
        if not _in_parts(parameter):
            parameter.data = parameter.data.to(device)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)
    give_back_much()  # glibc keeps the memory of the layers that became fp32


def _with_room(device: torch.device, size: int) -> torch.device:
    """`device` if a model of so many bytes fits on it beside what a pass over a few rows takes, else the host."""
    if device.type != "cuda":
        return device
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return device if free > PASSES * size else torch.device("cpu")


def _in_parts(parameter: Tensor) -> bool:
    return hasattr(parameter, "to_local")


def span(rows: int, ranks: Ranks) -> Span:
    """The rows of a tensor that a process has: as torch.chunk cuts it."""
    size = math.ceil(rows / ranks.count)
    return min(rows, ranks.rank * size), min(rows, (ranks.rank + 1) * size), rows


def wanted(mode: str, execution: Mapping[str, Any], ranks: Ranks) -> bool:
    """Whether the weights of a training in this `mode` ("full", "lora", "probe") shall lie in parts, by `launcher.fsdp`."""
    return bool(execution.get("fsdp")) and ranks.count > 1 and mode != "probe"
