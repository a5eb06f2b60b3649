"""A training whose weights, gradients and optimizer state lie in parts on the processes of its stage (FSDP2, `launcher.fsdp`).

* torch's `fully_shard` collects a layer's weights before its passes and gives each process its part of the gradients, summed. Each layer
  is a part of its own, and the rest of the trunk another. What is used outside of the trunk's forward pass stays whole in every
  process: the head, and an embedding that is also the output layer. Its gradients are summed as without parts.
* Numbers are those of one process: weights are collected in fp32, and autocast computes as ever.
* The optimizer works on the plain tensors that a process has (`local`), so any optimizer serves that treats each value by itself.
* At the end rank 0 has the whole model, as a plain module: what `fully_shard` changed is changed back. Its memory must hold the weights
  alone, without gradients and optimizer state.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from w2s_cli.store.ranks import Ranks
from w2s_cli.training.models.trunk import layers

Span = tuple[int, int, int]  # first row, end, rows of the whole tensor


def local(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process has, in the same memory; a whole tensor itself."""
    part: Tensor = tensor.detach().to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[attr-defined]
    return part


class Sharding:
    """The parts of a model's trainable parameters; without parts it is empty, and everything goes on as ever."""

    def __init__(self, model: nn.Module, ranks: Ranks, *, sharded: bool = False) -> None:
        """Share out the weights of `model`, in place, if they are `sharded`."""
        self.model, self.ranks = model, ranks
        self._before: list[tuple[nn.Module, type, dict[str, Any]]] = []
        if sharded:
            self._before = [_kept(module) for module in model.modules()]
            _shard(model, ranks)
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
        whole: dict[int, nn.Parameter] = {}
        for module in self.model.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is None or not _in_parts(parameter):
                    continue
                if id(parameter) not in whole:
                    full = parameter.detach().full_tensor()  # type: ignore[attr-defined]
                    if self.ranks.rank:
                        continue
                    whole[id(parameter)] = nn.Parameter(full, requires_grad=parameter.requires_grad)
                module._parameters[name] = whole[id(parameter)]
        for module, kind, state in self._before:
            module.__class__ = kind
            for name in set(vars(module)) - set(state):
                del vars(module)[name]
            for name, value in state.items():
                if name.endswith(_HOOKS):
                    vars(module)[name] = value
        self._before, self._locals, self._names, self._spans = [], {}, {}, {}


_HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")


def _kept(module: nn.Module) -> tuple[nn.Module, type, dict[str, Any]]:
    """A module, its class, and what it has, with copies of its hooks."""
    state = {name: type(value)(value) if name.endswith(_HOOKS) else None for name, value in vars(module).items()}
    return module, type(module), state


def _shard(model: Any, ranks: Ranks) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(model.device.type, (ranks.count,))
    trunk = model.base_model
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    outside = set() if output is None else {output.weight}
    for part in [*layers(trunk), trunk]:
        # the trunk too: else its weights would be whole after a pass without gradients, until the next backward pass
        fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=outside)
        part.set_gradient_divide_factor(1.0)  # a sum; fully_shard takes the mean
        part.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction


def _in_parts(parameter: Tensor) -> bool:
    return hasattr(parameter, "to_local")


def span(rows: int, ranks: Ranks) -> Span:
    """The rows of a tensor that a process has: as torch.chunk cuts it."""
    size = math.ceil(rows / ranks.count)
    return min(rows, ranks.rank * size), min(rows, (ranks.rank + 1) * size), rows


def wanted(model: nn.Module, execution: dict[str, Any], ranks: Ranks) -> bool:
    """Whether the weights of `model` shall lie in parts: with `launcher.fsdp`, and a model with layers."""
    return bool(execution.get("fsdp")) and ranks.count > 1 and hasattr(model, "base_model")
