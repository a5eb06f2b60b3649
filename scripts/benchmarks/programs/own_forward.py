"""One epoch's forward and backward passes through the Auto class as w2s does, and through a forward written by hand, in turn.

The hand-written one has all that the architecture and autocast do not let the Auto class have: q, k and v in one product, gate and up
projections too, rotations and norms that go over memory once, matmul inputs cast once. Micro-batches, packed attention and the shortcut of
the last layer are the same. What is left between the two is what the Auto class costs while training.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as torch's own documentation
from torch import Tensor

from scripts.benchmarks.programs.answer import cpu_seconds, main
from w2s_cli.training import batching
from w2s_cli.training.attention import packed
from w2s_cli.training.attention.cpu import LAYOUT, Run, attention, runs
from w2s_cli.training.device import pick_device
from w2s_cli.training.models import classifier, forward_pass
from w2s_cli.training.models.opening import quiet

ROUNDS = 3
Forward = Callable[[Any, Tensor, Tensor], Tensor]  # model, ids [rows, tokens], mask → last tokens' states [rows, width]


class Packed(NamedTuple):
    """Rows end to end."""

    ids: Tensor  # [tokens]
    positions: Tensor  # [tokens]
    last: Tensor  # [rows] places of the last tokens
    every: list[Run]  # attention of all tokens …
    only_last: list[Run]  # … and of the last ones


def pack(ids: Tensor, mask: Tensor, dtype: torch.dtype) -> Packed:
    lengths = mask.sum(1).tolist()
    last = torch.tensor(list(accumulate(lengths))) - 1
    every, only_last = (runs(lengths, dtype, last=which) for which in (False, True))
    return Packed(*packed.end_to_end(ids, mask, LAYOUT), last, every, only_last)


def attend(q: Tensor, k: Tensor, v: Tensor, layout: list[Run]) -> Tensor:
    """[tokens, heads, dim] three times → [tokens of q, heads·dim]."""
    one, other, third = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))
    return attention(one, other, third, q.shape[-1] ** -0.5, layout)[0].flatten(1)


class Norm(torch.autograd.Function):
    """RMS norm of x [tokens, width] fp32, cast for the product that follows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:  # type: ignore[override]
        share = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps)
        ctx.save_for_backward(x, weight, share)
        return (x * share * weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, share = ctx.saved_tensors
        unit = x * share
        slope = slope.float()
        of_weight = (slope * unit).sum(0)
        found = slope * weight
        part = (found * unit).mean(-1, keepdim=True)
        return found.addcmul_(unit, part, value=-1).mul_(share), of_weight, None, None


class Rotate(torch.autograd.Function):
    """Rotary positions: x [tokens, heads, dim]; cos and sin [tokens, 1, dim / 2]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return turned(slope, cos, sin, -1), None, None


def turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    """x [tokens, heads, dim] turned by the angles; `way` −1 turns back."""
    out = torch.empty_like(x)
    (a, b), (first, second) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-way)
    torch.mul(b, cos, out=second).addcmul_(a, sin, value=way)
    return out


def llama(model: Any, ids: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    config, trunk = model.config, model.model
    rows = pack(ids, mask, dtype)
    angles = rows.positions[:, None].float() * trunk.rotary_emb.inv_freq
    cos, sin = angles.cos().to(dtype).unsqueeze(1), angles.sin().to(dtype).unsqueeze(1)
    x, eps = F.embedding(rows.ids, trunk.embed_tokens.weight), config.rms_norm_eps

    def product(h: Tensor, *weights: Tensor) -> Tensor:
        return F.linear(h, torch.cat(weights).to(dtype) if len(weights) > 1 else weights[0].to(dtype))

    for number, layer in enumerate(trunk.layers):
        own, shape = layer.self_attn, (config.num_attention_heads, config.head_dim)
        h = Norm.apply(x, layer.input_layernorm.weight, eps, dtype)  # type: ignore[no-untyped-call]
        if number < len(trunk.layers) - 1:
            weights = (own.q_proj.weight, own.k_proj.weight, own.v_proj.weight)
            q, k, v = product(h, *weights).view(len(x), 3, *shape).unbind(1)
            q, layout = Rotate.apply(q, cos, sin), rows.every  # type: ignore[no-untyped-call]
        else:
            k, v = product(h, own.k_proj.weight, own.v_proj.weight).view(len(x), 2, *shape).unbind(1)
            q = product(h[rows.last], own.q_proj.weight).view(-1, *shape)
            q, layout = Rotate.apply(q, cos[rows.last], sin[rows.last]), rows.only_last  # type: ignore[no-untyped-call]
            x = x[rows.last]
        k = Rotate.apply(k, cos, sin)  # type: ignore[no-untyped-call]
        x = x + product(attend(q, k, v, layout), own.o_proj.weight)
        h = Norm.apply(x, layer.post_attention_layernorm.weight, eps, dtype)  # type: ignore[no-untyped-call]
        gate, up = product(h, layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight).chunk(2, -1)
        x = x + product(F.silu(gate) * up, layer.mlp.down_proj.weight)
    return Norm.apply(x, trunk.norm.weight, eps, dtype).float()  # type: ignore[no-untyped-call, no-any-return]


def gpt2(model: Any, ids: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    config, trunk = model.config, model.transformer
    rows = pack(ids, mask, dtype)
    x = F.embedding(rows.ids, trunk.wte.weight) + F.embedding(rows.positions, trunk.wpe.weight)

    def norm(part: Any, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], part.weight, part.bias, part.eps).to(dtype)

    def product(h: Tensor, part: Any, columns: slice = slice(None)) -> Tensor:
        return torch.addmm(part.bias[columns].to(dtype), h, part.weight[:, columns].to(dtype))

    for number, layer in enumerate(trunk.h):
        own, shape = layer.attn, (config.n_head, config.n_embd // config.n_head)
        h = norm(layer.ln_1, x)
        if number < len(trunk.h) - 1:
            q, k, v = product(h, own.c_attn).view(len(x), 3, *shape).unbind(1)
            layout = rows.every
        else:
            q = product(h[rows.last], own.c_attn, slice(0, config.n_embd)).view(-1, *shape)
            k, v = product(h, own.c_attn, slice(config.n_embd, None)).view(len(x), 2, *shape).unbind(1)
            x, layout = x[rows.last], rows.only_last
        x = x + product(attend(q, k, v, layout), own.c_proj)
        hidden = F.gelu(product(norm(layer.ln_2, x), layer.mlp.c_fc), approximate="tanh")
        x = x + product(hidden, layer.mlp.c_proj)
    return norm(trunk.ln_f, x).float()


HAND_WRITTEN = {"llama": llama, "gpt2": gpt2}


def passes(model: Any, forward: Forward, batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, Tensor, Tensor]:
    """CPU seconds of forward and backward over the batches; all states [rows, width]; all gradients, flat."""
    model.zero_grad(set_to_none=True)
    before, states = cpu_seconds(), []
    for ids, mask in batches:
        found = forward(model, ids, mask)
        found.sum(0).square().sum().backward()  # type: ignore[no-untyped-call]
        states.append(found.detach())
    took = cpu_seconds() - before
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return took, torch.cat(states), gradients


def work(job: dict[str, Any]) -> dict[str, Any]:
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    quiet()
    precision = job["precision"]
    device = pick_device({"device": "cpu"}, precision)
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    texts = pq.read_table(Path(job["train"]) / "rows.parquet")["text"].to_pylist()
    rows = [np.asarray(ids[: job["max_length"]]) for ids in tokenizer(texts)["input_ids"]]
    lengths = np.asarray([len(row) for row in rows])
    model = classifier.open_base(Path(job["base"]), tokenizer, ["no", "yes"], 0, device, {}, job["max_length"]).train()
    order = batching.epoch_order(len(rows), job["seed"], 0)
    pieces = [
        batching.pad([rows[row] for row in piece], 0)
        for batch in batching.batches_of_rows(order, job["batch"])
        for piece in batching.micro_batches(batch, lengths, 4096, LAYOUT)
    ]
    by_hand = HAND_WRITTEN[model.config.model_type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    ways: dict[str, Forward] = {
        "auto": lambda model, ids, mask: forward_pass.last_token_features(model, ids, mask, precision),
        "own": lambda model, ids, mask: by_hand(model, ids, mask, dtype),
    }
    for forward in ways.values():
        passes(model, forward, pieces[:4])  # kernels are compiled
    said: dict[str, Any] = {"seconds": {name: [] for name in ways}}
    for _ in range(ROUNDS):
        ends = {}
        for name, forward in ways.items():
            took, *ends[name] = passes(model, forward, pieces)
            said["seconds"][name].append(took)
    for place, name in enumerate(("states", "gradients")):
        one, other = ends["auto"][place], ends["own"][place]
        said[f"{name}_apart"] = float((one - other).norm() / one.norm())
    return said


if __name__ == "__main__":
    main(work)
