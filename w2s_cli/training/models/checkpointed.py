"""Gradient checkpointing (Chen et al. 2016): a layer keeps its input only, and is computed again in the backward pass.

* It works with packed rows: a layer that is computed again has the attention and the rotation of its first time, which
  `attention/packed.py` sets for its own passes only.
* The last layer keeps its activations. Packed passes call it twice, for few queries, so that they are small.
* transformers checkpoints in train mode only.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from w2s_cli.training.attention import packed, rotation
from w2s_cli.training.models.trunk import layers, text_part


def checkpoint_layers(model: Any) -> None:
    """Switch gradient checkpointing on, in place."""
    config: Any = text_part(model.base_model).config
    every = layers(model.base_model)
    usual = config._attn_implementation

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Around a layer's first time, and around its second."""
        name = config._attn_implementation
        return nullcontext(), nullcontext() if name == usual else again(name)

    @contextmanager
    def again(name: str) -> Iterator[None]:
        before, config._attn_implementation = config._attn_implementation, name
        try:
            with rotation.faster(every[0]):
                yield
        finally:
            config._attn_implementation = before

    chosen: dict[str, bool | Callable[..., Any]] = {"use_reentrant": False, "context_fn": contexts}
    model.gradient_checkpointing_enable(chosen)
    every[-1].gradient_checkpointing = False  # type: ignore[assignment]
    setattr(model, packed.CHECKPOINTED, True)
