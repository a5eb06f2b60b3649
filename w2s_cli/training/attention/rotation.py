"""Rotary positions in fewer passes over memory, for packed rows on a CPU.

* Some 200 architectures of transformers call a function of one name for this, each its own. Within `faster` that function is exchanged,
  if it computes the usual formula on random numbers; calls with other arguments than the usual ones reach the function itself.
* The trial of packed rows (`packed.py`) goes through `faster` too: it compares the whole model, forward and backward, with the plain one.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from w2s_cli.training.device import matmul_dtype

NAME = "apply_rotary_pos_emb"
SAME = 1e-5  # largest error of the trial, in fp32

Rotate = Callable[..., tuple[Tensor, Tensor]]


@contextmanager
def faster(layer: nn.Module) -> Iterator[None]:
    """Within the block, the layers of the class of `layer` rotate queries and keys by `_Rotation`."""
    names = {type(part).__module__ for part in layer.modules()}
    modules = [sys.modules[name] for name in sorted(names) if _is_usual(getattr(sys.modules[name], NAME, None))]
    plain = [getattr(module, NAME) for module in modules]
    try:
        for module, function in zip(modules, plain, strict=True):
            setattr(module, NAME, _instead_of(function))
        yield
    finally:
        for module, function in zip(modules, plain, strict=True):
            setattr(module, NAME, function)


def _instead_of(plain: Rotate) -> Rotate:
    def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
        usual = not args and not named and cos.ndim == 3 and cos.shape[-1] == q.shape[-1] == k.shape[-1]
        if not usual or cos.requires_grad or q.device.type != "cpu":
            return plain(q, k, cos, sin, *args, **named)
        signed = torch.cat([-sin[..., : sin.shape[-1] // 2], sin[..., sin.shape[-1] // 2 :]], -1)
        dtype = matmul_dtype(q.device.type, torch.result_type(q, cos))
        rotated = (_Rotation.apply(part, cos, signed, dtype) for part in (q, k))  # type: ignore[no-untyped-call]
        return next(rotated), next(rotated)

    return rotate


class _Rotation(torch.autograd.Function):
    """x·cos + (−x₂, x₁)·sin for the halves x₁, x₂ of a head; x is [rows, heads, tokens, dim], cos and the signed sin [rows, tokens, dim].

    `signed` is sin with its first half negated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, signed: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(cos, signed)
        ctx.dtype = x.dtype
        return _turned(x, cos, signed, dtype)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        cos, signed = ctx.saved_tensors
        return _turned(slope, cos, signed.roll(signed.shape[-1] // 2, -1), ctx.dtype), None, None, None


def _turned(x: Tensor, cos: Tensor, signed: Tensor, dtype: torch.dtype) -> Tensor:
    """x·cos + (x₂, x₁)·signed in the type of cos, as `dtype`; in memory [rows, tokens, heads, dim], as linear layers have it."""
    wide = x.transpose(1, 2).to(cos.dtype)
    half = x.shape[-1] // 2
    cos, signed = cos.unsqueeze(2), signed.unsqueeze(2)
    out = wide * cos
    out[..., :half].addcmul_(wide[..., half:], signed[..., :half])
    out[..., half:].addcmul_(wide[..., :half], signed[..., half:])
    return out.to(dtype).transpose(1, 2)


@functools.cache
def _is_usual(function: Any) -> bool:
    """Whether `function` computes, on random numbers, what `_Rotation` does."""
    if not callable(function):
        return False
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 2, 3, 8, generator=generator)
    cos, sin = torch.randn(2, 1, 3, 8, generator=generator)
    try:
        with torch.autocast("cpu", enabled=False):
            pairs = list(zip(function(q, k, cos, sin), _instead_of(function)(q, k, cos, sin), strict=True))
        return all(one.shape == other.shape and float((one - other).abs().max()) < SAME for one, other in pairs)
    except Exception:  # another function under this name
        return False
