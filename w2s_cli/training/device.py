"""The device of a stage, and its precision.

* The precision is part of a stage's identity, the device is not. A device that does not support the precision is an error with
  advice: no other precision is used in its place.
* fp32 means the accuracy of fp32, by the CPU's faster matmul library. torch's precision "medium" allows oneDNN, which takes half the
  time of MKL on processors without MKL kernels (AMD: 240 against 105 GFLOP/s a core). On processors with AMX, oneDNN computes in
  bf16: a trial product detects this, and MKL stays.
* bf16 means autocast around the forward pass. Weights, gradients and the optimizer stay in fp32, because Adam at a learning rate of
  1e-5 stalls on bf16 weights.
"""

import contextlib
import functools
from typing import Any

import torch

from w2s_cli.errors import UserError

EXACT = 1e-5  # largest relative error of a product in fp32: fp32 has 1e-6, bf16 and tf32 have 1e-3


def pick_device(execution: dict[str, Any], precision: str) -> torch.device:
    """The torch device for `execution["device"]` (auto: cuda, else mps, else cpu), with threads and matmul mode set.

    Raises:
        UserError: the device is missing, or does not support `precision` ("fp32", "bf16" or "tf32").
    """
    name = str(execution.get("device") or "auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f'device={name} is not a device; use "auto", "cpu", "cuda", "cuda:1" or "mps"') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device={name}: torch sees no CUDA device here; use device=cpu, or install a CUDA build of torch"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: this machine has no Apple GPU; use device=auto")
    if precision not in ("fp32", "bf16", "tf32"):
        raise UserError(f'precision={precision} is unknown; use "fp32", "bf16" or "tf32"')
    if precision == "tf32" and device.type != "cuda":
        raise UserError(
            f"precision=tf32 needs an NVIDIA GPU, but the device is {device.type}; set the model's precision=fp32"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UserError(
            "precision=bf16 needs an NVIDIA GPU of compute capability 8.0 or newer; set the model's precision=fp32"
        )
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if device.type == "cpu" and _medium_is_exact():
        torch.set_float32_matmul_precision("medium")
    if execution.get("threads"):
        torch.set_num_threads(int(execution["threads"]))
    return device


@functools.cache
def _medium_is_exact() -> bool:
    """Whether fp32 products at precision "medium" have the rounding errors of fp32 on this processor, not those of bf16."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=generator) for size in ((256, 512), (512, 256)))
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    medium = a @ b
    torch.set_float32_matmul_precision(before)
    return bool((medium - exact).abs().max() < EXACT * exact.abs().max())


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context for a forward pass: bf16 autocast, or nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def matmul_dtype(device: str, dtype: torch.dtype) -> torch.dtype:
    """The type of matmuls on `device` ("cpu", "cuda", …): autocast's within such a context, else `dtype`."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype
