"""Linear layers in bf16: where a product in bf16 is all that reads a weight, the weight itself is opened in bf16, half as large.

* precision=bf16 is autocast, which rounds the weights of linear layers for every product. A weight that is rounded once, while it is read
  from its file, gives the same products, bit for bit. Everything else of a model stays fp32: norms, embeddings, output layer, head, biases.
* `Kept` says what a stage needs. "fp32": its weights are trained, or read in fp32. "bf16": it only reads, under autocast. "stored": its
  weights are frozen, and a layer is in bf16 if the checkpoint is: then nothing is lost, and adapters can be merged exactly.
* The experts of a mixture stay fp32, because transformers multiplies them outside of autocast, in their own type. Of a checkpoint in MXFP4
  they are opened in bf16, which holds each of its numbers exactly.
* Outside of autocast, as in the trials of packed rows, such a layer computes with its weight in the type of its input.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from w2s_cli.training.models import lora, nf4
from w2s_cli.training.models.mapped import let_go
from w2s_cli.training.models.trunk import text_part

Kept = Literal["fp32", "bf16", "stored"]

_OLD_FSDP = torch.torch_version.TorchVersion(torch.__version__) < "2.13"  # may refuse layers of several types


def for_reading(precision: str) -> Kept:
    """What a stage keeps that trains no weight."""
    return "bf16" if precision == "bf16" else "fp32"


def for_training(params: Mapping[str, Any], *, in_parts: bool) -> Kept:
    """How a training with these params opens its model.

    Adapters on another stage's model are merged into fp32 weights and saved whole: they keep fp32. Trained weights that will lie in parts
    are opened as they are stored, and become fp32 layer by layer (`sharding.py`).
    """
    if params["mode"] == "full":
        return "stored" if in_parts else "fp32"
    frozen = params["mode"] == "lora" and params.get("model") is not None and not (in_parts and _OLD_FSDP)
    return "stored" if frozen and (params["precision"] == "bf16" or nf4.wanted(params)) else "fp32"


def narrow(model: Any) -> None:
    """Put the linear layers of the model's body into bf16, one by one and in place."""
    for part, name in parts(model, experts=False):
        weight = getattr(part, name)
        if weight.dtype != torch.bfloat16:
            put(part, weight.data.to(torch.bfloat16))
    settle(model)


def settle(model: Any) -> None:
    """Make the layers in bf16 able to compute outside of autocast."""
    for part, name in parts(model, experts=False):
        if getattr(part, name).dtype == torch.bfloat16:
            part.forward = partial(_forward, part)  # type: ignore[method-assign]


def put(part: nn.Module, weight: Tensor) -> None:
    """Give a linear layer the `weight`, in the type that it has, in the place of one as it was opened."""
    before: Tensor = part.weight.data  # type: ignore[assignment, union-attr]
    part.weight.data = weight  # type: ignore[union-attr, assignment]
    if weight.data_ptr() != before.data_ptr():
        let_go(before)
    if weight.dtype == torch.bfloat16:
        part.forward = partial(_forward, part)  # type: ignore[method-assign]
    elif "forward" in vars(part):
        del part.forward  # type: ignore[attr-defined]


def widen(model: Any) -> None:
    """Put all weights in bf16 into fp32, one by one and in place."""
    for part, name in parts(model, experts=True):
        widen_weight(part, name)


def widen_weight(part: Any, name: str) -> None:
    """Put the weight `name` of a module into fp32, in place, if it is in bf16."""
    weight = getattr(part, name)
    if weight.dtype != torch.bfloat16:
        return
    if name == "weight":
        put(part, weight.data.float())
    else:
        weight.data = weight.data.float()


@contextmanager
def hidden(model: Any) -> Iterator[None]:
    """Within the block, layers in bf16 have a weight of one number in fp32: peft would give new adapters the type of the weight."""
    layers = [part for part, name in parts(model, experts=False) if getattr(part, name).dtype == torch.bfloat16]
    kept: list[tuple[Any, nn.Parameter]] = [(part, part.weight) for part in layers]  # type: ignore[misc]
    for part, weight in kept:
        shown = torch.zeros((), device=weight.device).expand(weight.shape)
        part.weight = nn.Parameter(shown, requires_grad=weight.requires_grad)
    try:
        yield
    finally:
        for part, weight in kept:
            part.weight = weight.requires_grad_(part.weight.requires_grad)


class _Wide(torch.autograd.Function):
    """The forward pass of a linear layer with its weight in the type of its input; the weight is a constant, and is widened again for the
    backward pass: a graph would keep the wide weights of all layers at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Any) -> Tensor:
        """x [..., inputs] → [..., outputs]."""
        ctx.part = part
        wide = SimpleNamespace(weight=part.weight.to(x.dtype), bias=part.bias, nf=getattr(part, "nf", None))
        return type(part).forward(wide, x)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight = ctx.part.weight.to(slope.dtype)  # [outputs, inputs], of a Conv1D the other way round
        return slope @ (weight if isinstance(ctx.part, nn.Linear) else weight.T), None


def _forward(part: Any, x: Tensor) -> Tensor:
    """The forward pass of a linear layer in bf16."""
    if part.weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
        return type(part).forward(part, x)  # type: ignore[no-any-return]
    return _Wide.apply(x, part)  # type: ignore[no-any-return, no-untyped-call]


def parts(model: Any, *, experts: bool) -> list[tuple[nn.Module, str]]:
    """(module, name of its weight) of the linear layers of the body, and with `experts` of the experts of a mixture."""
    from transformers.pytorch_utils import Conv1D

    tied = {*model.all_tied_weights_keys, *model.all_tied_weights_keys.values()}
    linear = [(model.get_submodule(name), name) for name in lora.linear_layers(model)]
    # a class of its own may use its weight in another way than a product
    chosen = [
        (part, "weight") for part, name in linear if type(part) in (nn.Linear, Conv1D) and f"{name}.weight" not in tied
    ]
    if experts:
        for part in text_part(model.base_model).modules():
            if type(part).__name__.endswith("Experts"):
                chosen += [(part, name) for name, weight in part.named_parameters(recurse=False) if weight.ndim == 3]
    return chosen
