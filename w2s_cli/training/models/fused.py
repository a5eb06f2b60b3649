"""Parts of a model in fewer passes over memory on a CPU: the same formulas, with a backward pass of their own.

* A part is exchanged after loading, and only one that computes this formula: a norm is tried on random numbers first. No architecture
  is named. On a GPU, and for the compiler, a part runs as transformers has it.
* Under autocast a norm's result has the type of the matmuls that read it. Without this, each of the linear layers behind a norm
  makes its own copy. The last norm of a trunk keeps fp32, for the head.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from w2s_cli.training.device import matmul_dtype
from w2s_cli.training.models.trunk import layers

SAME = 1e-5  # largest relative error of a norm's trial in fp32
PIECE = 1 << 18  # values in a pass: fewer take longer to call, more leave the cache
# x·sigmoid(LINEAR·x + CUBIC·x³) is the tanh-GELU (Hendrycks and Gimpel 2016): (1 + tanh z) / 2 = sigmoid(2z)
LINEAR = (8 / torch.pi) ** 0.5
CUBIC = 0.044715 * LINEAR


def fuse(model: Any) -> None:
    """Exchange the parts of `model` that have a faster form here: tanh-GELUs, and the RMS norms of its layers."""
    from transformers.activations import GELUTanh, NewGELUActivation

    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation | GELUTanh):
                setattr(module, name, TanhGELU())
    for part in layers(model.base_model).modules():
        if _is_rms_norm(part):
            part.forward = partial(_norm, part)  # type: ignore[method-assign]


class TanhGELU(nn.Module):
    """GELU by its tanh formula; torch's takes twice as long on a CPU, transformers' takes eight passes over memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if not _here(x):
            return gelu(x, approximate="tanh")
        return _TanhGELU.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class _TanhGELU(torch.autograd.Function):
    """Keeps the derivative instead of the input, for the two share their most expensive part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        flat = x.reshape(-1)
        out = torch.empty_like(flat)
        slope = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        linear = torch.tensor(LINEAR, dtype=_wide(x))
        room = torch.empty(3, min(PIECE, len(flat)), dtype=linear.dtype)
        for start in range(0, len(flat), PIECE):
            at = slice(start, min(start + PIECE, len(flat)))
            wide, z, gate = room[:, : at.stop - at.start]
            wide.copy_(flat[at])
            torch.addcmul(linear, wide, wide, value=CUBIC, out=z).mul_(wide)
            torch.sigmoid(z, out=gate)
            if slope is not None:  # gate + gate·(1 − gate)·(LINEAR·x + 3·CUBIC·x³)
                z.sub_(wide, alpha=LINEAR * 2 / 3)
                slope[at] = torch.addcmul(gate, gate, z.addcmul_(z, gate, value=-1), value=3, out=z)
            out[at] = wide.mul_(gate)
        ctx.save_for_backward(slope)
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:  # type: ignore[override]
        slope: Tensor = ctx.saved_tensors[0]
        return upstream.mul(slope.view(upstream.shape))


def _norm(module: Any, x: Tensor) -> Tensor:
    """The forward pass of an RMS norm."""
    if not _here(x):
        return type(module).forward(module, x)  # type: ignore[no-any-return]
    dtype = matmul_dtype(x.device.type, torch.result_type(x, module.weight))
    return _RMSNorm.apply(x, module.weight, _epsilon(module), dtype)  # type: ignore[no-any-return, no-untyped-call]


class _RMSNorm(torch.autograd.Function):
    """x · (mean x² + ε)^-½ · weight over the last dimension, computed in fp32 at least (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        wide = x.to(_wide(x))
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()  # [..., 1]
        ctx.save_for_backward(x, weight, scale)
        return torch.mul(wide, scale).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        x, weight, scale = ctx.saved_tensors
        normal, slope = x * scale, slope.to(scale.dtype)
        slope_weight = (slope * normal).flatten(0, -2).sum(0).to(weight.dtype)
        slope_normal = slope * weight
        common = torch.linalg.vecdot(slope_normal, normal).div_(x.shape[-1]).unsqueeze(-1)
        slope_x = torch.addcmul(slope_normal, normal, common, value=-1).mul_(scale)
        return slope_x.to(x.dtype), slope_weight, None, None


def _is_rms_norm(part: Any) -> bool:
    """Whether `part` computes the formula of `_RMSNorm` with its only weight."""
    weight = getattr(part, "weight", None)
    if not type(part).__name__.endswith("RMSNorm") or weight is None or [*part.parameters()] != [weight]:
        return False
    if weight.device.type != "cpu" or weight.ndim != 1 or _epsilon(part) is None:
        return False
    x = torch.randn(3, len(weight), generator=torch.Generator().manual_seed(0)).to(weight.dtype)
    with torch.no_grad():
        expected, ours = part(x), _norm(part, x)
    return expected.shape == ours.shape and bool((ours - expected).abs().max() <= SAME * expected.abs().max())


def _epsilon(norm: Any) -> float | None:
    return getattr(norm, "variance_epsilon", getattr(norm, "eps", None))


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _here(x: Tensor) -> bool:
    """Whether to compute with this module's functions: on a CPU, without the compiler."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
