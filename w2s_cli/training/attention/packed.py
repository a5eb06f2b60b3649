"""Packed rows: rows end to end as one long row, without padding. Each token attends only within its own row.

* Packing needs a causal architecture that takes its attention from transformers' interface. A trial compares two short packed rows
  with the padded passes forward and backward, once per model; a model that disagrees gets padded rows. Compiled models get padded rows
  too.
* What the trial compares is the norm of the difference: single values near zero differ by rounding in any model, in large ones some of
  thousands by more than a thousandth. The largest difference of a token's states counts, since a wrong mask spoils single tokens.
* The attention is `cpu.py` on a CPU, `varlen.py` on an NVIDIA GPU in bf16. Other devices and precisions get padded rows.
* Rows are packed on the CPU, from their lengths, so nothing waits for a GPU.
* A classifier reads the last token's state only, so the last layer needs one query for each row; a text is learned after its prompt, so
  that layer needs the queries of the text. It is called twice: first for the keys and values of all tokens, up to its attention, then
  for the last tokens of each row. The result is exact, for a classifier with 1/4 of the layer's work.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from w2s_cli.store.context import Context
from w2s_cli.store.memory import means_no_memory
from w2s_cli.training.attention import cpu, rotation, varlen
from w2s_cli.training.batching import Layout
from w2s_cli.training.device import autocast, matmul_dtype
from w2s_cli.training.models.compiled import is_compiled
from w2s_cli.training.models.trunk import inputs, layers

NAME = "w2s_packed"  # in transformers' attention interface
CHECKPOINTED = (
    "_w2s_checkpointed"  # attribute of a model whose checkpointing has this module's settings (models/checkpointed.py)
)
_TRIED = "_w2s_packed"  # attribute of a model: with gradients (True, False) → why it cannot be packed, or None
# Largest ‖packed − padded‖ / ‖padded‖ of a token's states, and of all gradients. SmolLM2-135M, before and after generative finetuning:
# at most 1.1e-5 (states) and 7e-4 (gradients) in fp32, 0.007 and 0.018 in bf16. Keys without gradients make 0.4.
BOUND = {"fp32": 1e-2, "bf16": 0.1}
TOGETHER = 1 << 28  # weights, about, whose gradients are compared at once
MOST_TAILS = 0.75  # of all tokens: above it, the last layer's two calls take as long as one
_OTHER_RULES = ("sliding_window", "softcap", "s_aux")  # arguments of attention other than a causal softmax

Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]


class _Caught(Exception):  # noqa: N818 - no error: the way out of a layer
    """Carries keys and values, [1, heads, tokens, dim] each, out of a layer."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        super().__init__()
        self.key, self.value = key, value


class Branches(NamedTuple):
    """Rows of several continuations of one beginning, each of which sees the beginning and itself."""

    positions: Tensor  # [rows, tokens] of each token in its own text
    of: list[list[int]]  # of each row the branch of each token, 0 for the beginning


def usable(model: Any, precision: str) -> bool:
    """Whether `model`, a classifier or language model, can take packed rows with its present settings."""
    return why_padded(model, precision) is None


def why_padded(model: Any, precision: str) -> str | None:
    """Why the rows of `model` are padded with its present settings; None: they are packed."""
    device = model.device.type
    if device != "cpu" and not (device == "cuda" and precision in varlen.PRECISIONS):
        return f"precision {precision} on {device}"
    if is_compiled(model):
        return "compiled layers"
    checkpointed = any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    if checkpointed and not getattr(model, CHECKPOINTED, False):
        return "gradient checkpointing by transformers alone"
    tried: dict[bool, str | None] = vars(model).setdefault(_TRIED, {})
    gradients = torch.is_grad_enabled()
    if gradients not in tried:
        tried[gradients] = _difference(model, precision if device == "cuda" else "fp32")
    return tried[gradients]


def tell(layout: Layout, why_padded: str | None, ctx: Context) -> None:
    """Note in log.txt and record.json how the rows of a stage lie in a micro-batch: packed, padded and why, or one by one."""
    rows = "packed" if layout.packed else f"padded: {why_padded}"
    if layout.alone:
        rows = "one by one: this model reads a row in another way beside other rows"
    ctx.log(f"rows {rows}")
    ctx.measure(rows=rows)


def layout(model: Any) -> Layout:
    """The layout of packed micro-batches on this model's device."""
    return cpu.LAYOUT if model.device.type == "cpu" else varlen.LAYOUT


def last_states(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The last hidden state of each row's last token, [rows, width]; ids and mask are [rows, tokens], padded on the right, on the CPU."""
    return _tail_states(model, ids, mask, [1] * len(ids), layout(model).last)


def most_branched(model: Any) -> int:
    """The most tokens that a packed row with branches can have; 0 on a GPU."""
    return cpu.LONG if model.device.type == "cpu" else 0


def tail_states(
    model: Any, ids: Tensor, mask: Tensor, tails: Sequence[int], branches: Branches | None = None
) -> Tensor:
    """The last hidden states of the last `tails[row]` tokens of each row, row after row: [sum of tails, width]."""
    lengths = mask.sum(1).tolist()
    if model.device.type == "cpu" and max(lengths) <= cpu.LONG and sum(tails) <= MOST_TAILS * sum(lengths):
        return _tail_states(model, ids, mask, tails, layout(model).unit, branches)
    return all_states(model, ids, mask, branches)[_places(lengths, tails).to(model.device)]


def _places(lengths: Sequence[int], tails: Sequence[int]) -> Tensor:
    """The places of the last `tails[row]` tokens of each row, among all tokens end to end."""
    return torch.cat([torch.arange(end - tail, end) for end, tail in zip(accumulate(lengths), tails, strict=True)])


def _tail_states(
    model: Any, ids: Tensor, mask: Tensor, tails: Sequence[int], unit: int, branches: Branches | None = None
) -> Tensor:
    """`tail_states` with the last layer's queries of these tokens alone, filled up to a multiple of `unit`."""
    lengths = mask.sum(1).tolist()
    places = _places(lengths, tails)
    count = len(places)
    places = pad(places, (0, -count % unit), value=int(places[-1]))  # the last one again
    last = places.to(model.device, non_blocking=True)  # [count, filled up]
    at_all, at_last = _within(model, lengths, None, branches), _within(model, lengths, tails, branches)
    layer = layers(model.base_model)[-1]

    def shortened(forward: Callable[..., Any], hidden: Tensor, *args: Any, **named: Any) -> Any:
        try:
            forward(hidden, *args, **{**named, "attend": _catch})
        except _Caught as caught:
            key, value = caught.key, caught.value
        short = {name: _only(part, last, hidden.shape[1]) for name, part in named.items()}
        short["attend"] = lambda query, _, __, scale: at_last(query, key, value, scale)
        states: Tensor = forward(hidden[:, last], *args, **short)
        whole = states.new_zeros(hidden.shape)  # trunks expect as many tokens as before
        return whole.index_copy(1, last[:count], states[:, :count])

    with _replaced(layer, shortened):
        return _forward(model, ids, mask, at_all, branches)[0, last[:count]]


def all_states(model: Any, ids: Tensor, mask: Tensor, branches: Branches | None = None) -> Tensor:
    """The last hidden state of every real token, row after row: [tokens, width]."""
    lengths = mask.sum(1).tolist()
    return _forward(model, ids, mask, _within(model, lengths, None, branches), branches)[0, : sum(lengths)]


def end_to_end(ids: Tensor, mask: Tensor, layout: Layout, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Token ids of rows end to end, and positions (from 0 in each row), [tokens] both, filled up with zeros to the layout's size."""
    real, count = mask.bool(), mask.sum(1)
    more = (0, layout.room(count.numpy()) - int(count.sum()))
    positions = mask.cumsum(1) - 1 if positions is None else positions
    return pad(ids[real], more), pad(positions[real], more)


def _within(
    model: Any, lengths: list[int], tails: Sequence[int] | None = None, branches: Branches | None = None
) -> Attend:
    """Attention within rows of `lengths` on the model's device; queries are all tokens, or the last `tails[row]` ones of each row.

    On a GPU tails are of one token, and no row has branches.
    """
    if model.device.type == "cuda":
        where = varlen.spans(lengths, model.device, last=tails is not None)
        return lambda query, key, value, scale: varlen.attention(query, key, value, scale, where)
    runs = cpu.runs(lengths, matmul_dtype(model.device.type, model.dtype), tails, branches and branches.of)
    return lambda query, key, value, scale: cpu.attention(query, key, value, scale, runs)


def _forward(model: Any, ids: Tensor, mask: Tensor, attend: Attend, branches: Branches | None = None) -> Tensor:
    """The trunk's states of the packed rows, [1, tokens, width], with the filling tokens at the end."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _interface)
    laid = end_to_end(ids, mask, layout(model), branches and branches.positions)
    tokens, positions = (part.unsqueeze(0).to(model.device, non_blocking=True) for part in laid)  # [1, tokens]
    config = model.base_model.config
    before, config._attn_implementation = config._attn_implementation, NAME
    try:
        with rotation.faster(layers(model.base_model)[0]):
            output = model.base_model(input_ids=tokens, position_ids=positions, use_cache=False, attend=attend)
    finally:
        config._attn_implementation = before
    return output.last_hidden_state  # type: ignore[no-any-return]


def _interface(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: None, *, attend: Attend, **named: Any
) -> tuple[Tensor, None]:
    """The attention function that transformers calls."""
    if mask is not None or any(named.get(rule) is not None for rule in _OTHER_RULES):
        # the trial (`why_padded`) tells it as the reason, and the rows of such a model are padded
        raise NotImplementedError("attention other than a causal softmax")
    scale = named.get("scaling")
    return attend(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale), None


def _catch(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    raise _Caught(key, value)


@contextmanager
def _replaced(layer: nn.Module, other: Callable[..., Any]) -> Iterator[None]:
    """Within the block, a call of `layer` is a call of `other(layer.forward, …)`."""
    forward = layer.forward
    layer.forward = lambda *args, **named: other(forward, *args, **named)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del layer.forward


def _only(part: Any, rows: Tensor, tokens: int) -> Any:
    """A layer's argument about all tokens ([1, tokens, …]: positions and their rotations), for the tokens `rows` only."""
    if isinstance(part, tuple):
        return tuple(_only(inner, rows, tokens) for inner in part)
    return part[:, rows] if isinstance(part, Tensor) and part.ndim > 1 and part.shape[1] == tokens else part


def _difference(model: Any, precision: str) -> str | None:
    """What keeps two short rows from having the same states, and with gradients on the same gradients, packed and padded; None: nothing."""
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention is not transformers' interface"
    words = model.get_input_embeddings().num_embeddings
    # over the whole vocabulary: the first ids are special tokens, whose gradients are mostly rounding
    ids = (torch.arange(14) * words // 14).reshape(2, 7)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    weights = [weight for weight in model.parameters() if weight.requires_grad and torch.is_grad_enabled()]

    def padded() -> Tensor:
        states = model.base_model(**inputs(model, ids, mask), use_cache=False).last_hidden_state
        return torch.cat([states[mask.bool()], states[[0, 1], [6, 3]], states[[0, 0, 1], [5, 6, 3]]])

    def packed() -> Tensor:
        tails = tail_states(model, ids, mask, [2, 1])
        return torch.cat([all_states(model, ids, mask), last_states(model, ids, mask), tails])

    try:
        expected, states = (_states(model, forward, precision) for forward in (padded, packed))
        slopes_apart = _slopes_apart(states, expected, weights) if expected.requires_grad else 0.0
    except Exception as error:  # architectures and kernels fail in many ways at unsupported arguments
        if means_no_memory(error):
            raise
        return f"the trial failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    apart = (states - expected).detach().norm(dim=-1) / expected.detach().norm(dim=-1).clamp(min=1e-30)
    differences = {"states": float(apart.max()), "gradients": slopes_apart}
    for what, difference in differences.items():
        if not difference < BOUND[precision]:
            return f"packed {what} differ from padded ones by {difference:.1e} of their norm (allowed {BOUND[precision]:g})"
    return None


def _states(model: Any, forward: Callable[[], Tensor], precision: str) -> Tensor:
    """The states [tokens, width] of a forward pass."""
    with autocast(model.device, precision) if precision == "bf16" else torch.autocast(model.device.type, enabled=False):
        return forward().float()


def _slopes_apart(states: Tensor, expected: Tensor, weights: list[nn.Parameter]) -> float:
    """The norm of the difference of the gradients of `weights` behind two passes, by the norm of the expected ones.

    The gradients of a large model are compared in parts: those of both passes together would take more memory than its training.
    """
    slope = torch.arange(states.numel(), device=states.device).sin().view_as(states)  # a sum has no slope before a norm
    count = min(len(weights), 1 + sum(weight.numel() for weight in weights) // TOGETHER)
    apart, whole = [], []
    with torch.autocast(states.device.type, enabled=False):  # as backward passes are
        for number in range(count):
            part, more = weights[number::count], number + 1 < count
            slopes, wanted = (
                torch.autograd.grad(
                    (one * slope).sum(), part, retain_graph=more, allow_unused=True, materialize_grads=True
                )
                for one in (states, expected)
            )
            apart.append(_norm(map(torch.sub, slopes, wanted)))
            whole.append(_norm(wanted))
    return math.hypot(*apart) / max(math.hypot(*whole), 1e-30)


def _norm(parts: Iterable[Tensor]) -> float:
    """The norm of all values together."""
    return math.hypot(*(float(part.float().norm()) for part in parts))
