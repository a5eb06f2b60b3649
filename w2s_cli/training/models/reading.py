"""How transformers reads the weights of a checkpoint: each in the type and to the place that a stage keeps, and one after the other.

* A linear layer that is kept in bf16 (`bf16.py`) is in bf16 from the beginning: transformers makes a model without memory, and fills each
  weight in the type that it has there. So no weight but those that are being read is in memory twice.
* Of a weight that is converted, or goes to a GPU, the pages of its file leave this process at once (`mapped.py`). To read each weight into
  memory of its own, without a mapped file, takes four times as long.
* transformers has no public name for the places where this happens. In a version without them, weights are read as it reads them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from w2s_cli.training.models import bf16
from w2s_cli.training.models.mapped import let_go

DIRECT = ("cuda", "meta")  # devices to which weights go one by one; the memory of others is the host's


def stored_in_bf16(folder: Path) -> bool:
    """Whether all matrices of the checkpoint in `folder` are in bf16 (or in MXFP4); False for other files than safetensors."""
    files = sorted(folder.glob("*.safetensors"))
    try:
        for path in files:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    part = file.get_slice(name)
                    if len(part.get_shape()) > 1 and part.get_dtype() not in ("BF16", "U8"):
                        return False
    except (OSError, SafetensorError):  # who opens the weights tells
        return False
    return bool(files)


@contextmanager
def in_types(kept: bf16.Kept, *, experts: bool) -> Iterator[None]:
    """Within the block, transformers opens the linear layers of a model's body as `kept` says, and with `experts` these too."""
    from transformers import PreTrainedModel

    usual = getattr(PreTrainedModel, "_get_dtype_plan", None)  # called when the model is made, and has no memory yet
    if kept == "fp32" or usual is None:
        yield
        return

    def with_types(model: Any, dtype: torch.dtype) -> Any:
        for part, name in bf16.parts(model, experts=experts):
            part.register_parameter(name, nn.Parameter(getattr(part, name).to(torch.bfloat16)))
        return usual(model, dtype)

    PreTrainedModel._get_dtype_plan = with_types
    try:
        yield
    finally:
        PreTrainedModel._get_dtype_plan = usual


@contextmanager
def letting_go() -> Iterator[None]:
    """Within the block, pages of a mapped file leave this process when transformers has converted a weight, or has sent it to a device."""
    from transformers import core_model_loading

    usual = getattr(core_model_loading, "_materialize_copy", None)
    if usual is None:
        yield
        return
    in_files: dict[int, bool] = {}

    def by_copies(part: Any, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
        if isinstance(part, Tensor):  # of a .bin
            return usual(part, device, dtype)  # type: ignore[no-any-return]
        stored: Tensor = part[...]
        made: Tensor = usual(stored, device, dtype)
        if made.data_ptr() != stored.data_ptr():
            let_go(stored, in_files)
        return made

    core_model_loading._materialize_copy = by_copies
    try:
        yield
    finally:
        core_model_loading._materialize_copy = usual
