"""A frozen base in 4 bits (QLoRA, Dettmers et al. 2023): NormalFloat-4 with one fp32 scale for 64 weights, by bitsandbytes.

* Training holds the linear layers of the body in nf4, and computes in the precision of the stage. Adapters, head, norms and embeddings stay
  fp32, and so does a layer whose rows are no whole blocks. The model is opened on the host, and each layer moves to the device in 4 bits.
* The scales are not quantised a second time: that saves 6 % of what is left, and makes the base hard to rebuild.
* What is trained is a function of the rounded weights. So the model is opened, merged and exported with the base rounded in the same way
  (`rounded`), in plain torch and layer by layer: a reader needs no bitsandbytes. A test compares the two bit for bit.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from w2s_cli.training.device import matmul_dtype
from w2s_cli.training.models import lora
from w2s_cli.training.models.mapped import let_go

BLOCK = 64  # weights with one scale
# the 16 values of NormalFloat-4: quantiles of a normal distribution within [-1, 1] (Dettmers et al. 2023, appendix E)
VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


class _Product(torch.autograd.Function):
    """x @ weight.T of a weight in nf4, which is opened for the product and again for the backward pass, and never kept open."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, dtype: torch.dtype) -> Tensor:
        """x [..., inputs] → [..., outputs] in `dtype`."""
        ctx.weight, ctx.into = weight, (x.dtype, dtype)
        return x.to(dtype) @ _opened(weight, dtype).T

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        own, dtype = ctx.into
        return (slope.to(dtype) @ _opened(ctx.weight, dtype)).to(own), None, None


def _opened(weight: Any, dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state).to(dtype)  # type: ignore[no-any-return]


@functools.cache
def _layer() -> Any:
    """A linear layer in nf4; bitsandbytes' own computes in bf16 on a CPU, whatever the precision."""
    from bitsandbytes.nn import Linear4bit

    class Linear(Linear4bit):
        def forward(self, x: Tensor) -> Tensor:
            out = _Product.apply(x, self.weight, matmul_dtype(x.device.type, torch.float32))  # type: ignore[no-untyped-call]
            return out if self.bias is None else out + self.bias.to(out.dtype)  # type: ignore[no-any-return]

    return Linear


def wanted(params: Mapping[str, Any]) -> bool:
    """Whether a training with these params has its base in nf4."""
    return bool(params["mode"] == "lora" and params["lora"].get("base") == "nf4")


def quantise(model: Any, device: torch.device) -> None:
    """Put the linear layers of the model's body into nf4 on `device`, in place; everything else stays where it is, in fp32."""
    from bitsandbytes.nn import Params4bit

    from w2s_cli.training.models import bf16

    for name, part in _linear(model).items():
        small = _layer()(part.in_features, part.out_features, bias=False, quant_type="nf4", device="meta")
        options = {"quant_type": "nf4", "blocksize": BLOCK, "compress_statistics": False}
        small.weight = Params4bit(part.weight.data.float(), requires_grad=False, **options).to(device)
        small.bias = part.bias
        above, _, own = name.rpartition(".")
        setattr(model.get_submodule(above), own, small)
        let_go(part.weight.data)
        part.weight = None  # type: ignore[assignment]
    bf16.widen(model)
    model.is_loaded_in_4bit = True  # peft then adapts layers of this kind


@torch.no_grad()
def merge(tuner: Any) -> Any:
    """The plain model of adapters on a base in nf4: its rounded weights in fp32 with the adapters added."""
    kind, model = _layer(), tuner.model
    for name, part in list(model.named_modules()):
        base = getattr(part, "base_layer", part)
        if isinstance(base, kind) and not name.endswith(".base_layer"):
            weight = _opened(base.weight, torch.float32)
            plain = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
            plain.weight = nn.Parameter(weight if part is base else weight + part.get_delta_weight("default"))
            plain.bias = base.bias
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, plain)
    model.is_loaded_in_4bit = False
    return tuner.merge_and_unload()


@torch.no_grad()
def round_base(model: Any) -> None:
    """Round the weights that `quantise` would put into nf4, in place; in bf16 they are rounded to its nearest number."""
    for part in linear(model):
        part.weight.data = rounded(part.weight)


def rounded(weight: Tensor) -> Tensor:
    """`weight` after nf4: of each block of 64, scaled by its largest magnitude, the nearest of VALUES; shape and type stay."""
    values = torch.tensor(VALUES, device=weight.device)
    flat = weight.detach().float().reshape(-1)
    blocks = nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scale = blocks.abs().amax(1, keepdim=True)  # [blocks, 1]
    middles = (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(blocks / scale.clamp(min=torch.finfo(torch.float32).tiny), middles)
    return (values[codes] * scale).reshape(-1)[: len(flat)].view_as(weight).to(weight.dtype)


def linear(model: Any) -> list[nn.Linear]:
    """The layers that `quantise` would put into nf4."""
    return list(_linear(model).values())


def _linear(model: Any) -> dict[str, nn.Linear]:
    """Name → linear layer of the model's body whose rows are whole blocks."""
    parts = {name: model.get_submodule(name) for name in lora.linear_layers(model)}
    return {name: part for name, part in parts.items() if isinstance(part, nn.Linear) and part.in_features % BLOCK == 0}
