"""`launcher.compile=true`: the layers of a model through torch.compile.

* Layer by layer, with lengths as symbols: one compilation serves all layers and all micro-batches.
* It is off by default: packed rows, which a CPU and short rows gain more from, are not compiled, and the first steps of every worker
  wait for the compiler. `docs/speed.md` has what it was worth.
* It does not change what is computed, up to rounding, and is no part of a stage's key.
"""

from typing import Any

import torch

from w2s_cli.errors import UserError
from w2s_cli.training.device import autocast
from w2s_cli.training.models.trunk import layers


def compile_layers(model: Any, precision: str) -> None:
    """Compile the layers of `model`, a classifier or language model, in place, and try them on two short rows.

    Raises:
        UserError: torch cannot compile here.
    """
    for layer in layers(model.base_model):
        layer.compile(dynamic=True)
    ids = torch.zeros((2, 8), dtype=torch.int64, device=model.device)
    try:
        with autocast(model.device, precision):
            found = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        if found.requires_grad:
            found.float().sum().backward()
    except Exception as error:  # the compiler's, the system's, or a layer's that cannot be traced
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"launcher.compile=true: torch cannot compile this {model.config.model_type} here ({type(error).__name__}: {reason}). "
            "It needs a C++ compiler, on a GPU Triton; without them use launcher.compile=false"
        ) from error
    model.zero_grad(set_to_none=True)


def is_compiled(model: Any) -> bool:
    """Whether `compile_layers` was called on it."""
    return any(part._compiled_call_impl is not None for part in model.modules())
