"""`launcher.compile=true`: torch.compile for the layers of a model.

* Layer by layer, with lengths as symbols: one compilation serves all layers and all micro-batches.
* Off by default: compiled layers cannot take packed rows, which gain more on a CPU and for short rows, and the first steps of every
  worker wait for the compiler. `docs/speed.md` has what it cost and gained.
* Results are equal up to rounding, so `compile` is no part of a stage's key.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from w2s_cli.errors import UserError
from w2s_cli.training.device import autocast
from w2s_cli.training.models import bf16
from w2s_cli.training.models.trunk import layers


def compile_layers(model: Any, precision: str) -> None:
    """Compile the layers of `model`, a classifier or language model, in place, and try them on two short rows.

    Raises:
        UserError: torch cannot compile here.
    """
    bf16.widen(model)  # a layer in bf16 has a forward pass of its own, and would be compiled by itself
    for layer in layers(model.base_model):
        layer.compile(dynamic=True)
    ids = torch.zeros((2, 8), dtype=torch.int64, device=model.device)
    try:
        with autocast(model.device, precision):
            states = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        if states.requires_grad:
            states.float().sum().backward()
    except Exception as error:  # the compiler's, the system's, or a layer's that cannot be traced
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"launcher.compile=true: torch cannot compile this {model.config.model_type} here ({type(error).__name__}: {reason}). "
            "It needs a C++ compiler, on a GPU Triton; without them use launcher.compile=false"
        ) from error
    model.zero_grad(set_to_none=True)


def is_compiled(model: Any) -> bool:
    """Whether the layers of `model` are compiled."""
    return any(part._compiled_call_impl is not None for part in model.modules())


def uncompiled(model: Any) -> AbstractContextManager[Any]:
    """The context for single passes without gradients, which would wait for a compilation of their own: layers run as they are."""
    return torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
