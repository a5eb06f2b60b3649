"""Gradient checkpointing (Chen et al. 2016): a layer keeps its input only, and is computed again in the backward pass.

* It works with packed rows: a layer that is computed again has the attention and the rotation of its first time, which
  `attention/packed.py` sets for its own passes only.
* The last layer keeps its activations. Packed passes call it twice, for few queries, so that they are small.
* transformers checkpoints in train mode only.
* A layer keeps the function that checkpoints it, which must not hold the layer: a trained model is freed as soon as nobody uses it, before
  the saved one is opened.
"""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from w2s_cli.training.attention import packed, rotation
from w2s_cli.training.models.trunk import layers, text_part


class _Again(AbstractContextManager[None]):
    """Around a layer that is computed again: the attention and the rotation of its first time.

    It is entered once for every backward pass through the graph, which the trial of packed rows keeps for several.
    """

    def __init__(self, config: Any, attention: str, first: "weakref.ref[nn.Module]") -> None:
        self.config, self.attention, self.first = config, attention, first

    def __enter__(self) -> None:
        layer = self.first()
        assert layer is not None  # a layer's own function calls
        self.before, self.config._attn_implementation = self.config._attn_implementation, self.attention
        self.faster = rotation.faster(layer)
        self.faster.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.faster.__exit__(*error)
        self.config._attn_implementation = self.before


def checkpoint_layers(model: Any) -> None:
    """Switch gradient checkpointing on, in place."""
    config: Any = text_part(model.base_model).config
    every = layers(model.base_model)
    first = weakref.ref(every[0])
    usual = config._attn_implementation

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Around a layer's first time, and around its second."""
        name = config._attn_implementation
        return nullcontext(), nullcontext() if name == usual else _Again(config, name, first)

    chosen: dict[str, bool | Callable[..., Any]] = {"use_reentrant": False, "context_fn": contexts}
    model.gradient_checkpointing_enable(chosen)
    every[-1].gradient_checkpointing = False  # type: ignore[assignment]
    setattr(model, packed.CHECKPOINTED, True)
