"""Next-token prediction, on real tokens only and without storing the logits.

* Rows are padded on the right and models are causal, so no real token sees padding and no mask is needed. Padded positions are dropped
  before the output layer, the most expensive layer of a small model.
* The output layer and the loss are computed in chunks that fit the cache. The gradient of a chunk (softmax − one-hot) is computed with
  its loss, so the logits [tokens, vocabulary] never exist as a whole.
* Some architectures bound their logits, c · tanh(logits / c) (`final_logit_softcapping`: Gemma 2 and 4). The bound is applied here too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.training.attention import packed
from w2s_cli.training.batching import ALONE, PADDED, Layout, micro_batches, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.division import Whole, whole_of
from w2s_cli.training.loop import Contribution, Objective
from w2s_cli.training.memory import Budget
from w2s_cli.training.models.forward_pass import depends_on_others

_CHUNK = 512  # tokens


class _ChunkedLoss(torch.autograd.Function):
    """Sum of cross-entropies of `hidden @ weight.T` against `targets`."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, bound: float | None
    ) -> Tensor:
        """hidden [tokens, width], weight [vocabulary, width], targets [tokens] → scalar; matmuls in `dtype`; `bound` of the logits."""
        features, matrix = hidden.to(dtype), weight.to(dtype)
        total = torch.zeros((), device=hidden.device)
        hidden_gradient = torch.empty_like(features)
        weight_gradient = torch.zeros_like(weight)
        for start in range(0, len(targets), _CHUNK):
            part = slice(start, start + _CHUNK)
            logits = bounded((features[part] @ matrix.T).float(), bound)  # [chunk, vocabulary]
            norm = logits.logsumexp(-1, keepdim=True)  # [chunk, 1]
            right = targets[part].unsqueeze(1)  # [chunk, 1]
            total += (norm - logits.gather(1, right)).sum()
            inner = None if bound is None else slope_of_bound(logits, bound)
            slope = logits.sub_(norm).exp_()
            slope.scatter_add_(1, right, torch.full_like(norm, -1.0))
            if inner is not None:
                slope.mul_(inner)
            slope = slope.to(dtype)
            hidden_gradient[part] = slope @ matrix
            weight_gradient += slope.T @ features[part]
        ctx.save_for_backward(hidden_gradient.to(hidden.dtype), weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * slope, weight_gradient * slope, None, None, None


def bound_of(model: Any) -> float | None:
    """The bound of a language model's logits; None: they have none."""
    bound: float | None = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return bound


def bounded(logits: Tensor, bound: float | None) -> Tensor:
    """The logits within ±`bound`, in place."""
    return logits if bound is None else logits.div_(bound).tanh_().mul_(bound)


def slope_of_bound(logits: Tensor, bound: float) -> Tensor:
    """The derivative of `bounded` logits with respect to those before: 1 − (logits / bound)²."""
    return (logits / bound).square_().neg_().add_(1)


def states_before(
    model: Any, ids: Tensor, mask: Tensor, precision: str, tails: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """The hidden states from which tokens are predicted, [targets, width], and these tokens, [targets].

    Args:
        ids, mask: [rows, tokens] on the CPU.
        tails: the targets are the last `tails[row]` tokens of each row; None: all tokens after a row's first.
    """
    wanted = mask[:, 1:].bool()
    if tails is not None:
        wanted = wanted & (wanted.flip(1).cumsum(1).flip(1) <= torch.tensor(tails).unsqueeze(1))
    targets = ids[:, 1:][wanted].to(model.device)
    with autocast(model.device, precision):
        if packed.usable(model, precision):
            if tails is None:
                return packed.all_states(model, ids[:, :-1], mask[:, 1:]), targets
            return packed.tail_states(model, ids[:, :-1], mask[:, 1:], tails), targets
        states = model.base_model(input_ids=ids[:, :-1].to(model.device), use_cache=False).last_hidden_state
        return states[wanted.to(model.device)], targets


def summed_loss(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Sum over real targets of −log p(token | tokens before it); ids and mask are [rows, tokens] on the CPU."""
    hidden, targets = states_before(model, ids, mask, precision)
    dtype = torch.bfloat16 if precision == "bf16" else hidden.dtype
    weight = model.get_output_embeddings().weight
    return _ChunkedLoss.apply(hidden, weight, targets, dtype, bound_of(model))  # type: ignore[no-any-return, no-untyped-call]


def _summed_loss(model: Any, rows: Sequence[np.ndarray], layout: Layout, precision: str) -> Tensor:
    """`summed_loss` of rows of token ids, together or one by one as the layout says."""
    return torch.stack([summed_loss(model, *pad(together, 0), precision) for together in layout.passes(rows)]).sum()


def layout_of(model: Any, rows: Sequence[np.ndarray], precision: str) -> Layout:
    """The layout of micro-batches of these rows of token ids."""
    if depends_on_others(model, rows, precision):
        return ALONE
    return packed.layout(model) if packed.usable(model, precision) else PADDED


def objective(model: nn.Module, rows: Sequence[np.ndarray], precision: str) -> Objective:
    """The training objective over `rows` of token ids: mean loss per real target of the effective batch."""
    lengths, layout = np.array([len(row) for row in rows]), layout_of(model, rows, precision)

    def contributions(pieces: list[list[int]], progress: float, batch: Whole | None = None) -> Iterator[Contribution]:
        order = (batch or whole_of(pieces)).order
        targets = int(lengths[order].sum()) - len(order)
        for piece in pieces:
            loss = _summed_loss(model, [rows[row] for row in piece], layout, precision) / targets
            yield Contribution(
                loss,
                {"loss": loss.detach(), "tokens": int(lengths[piece].sum()), "padded": layout.room(lengths[piece])},
            )

    return Objective(lengths, layout, contributions)


@torch.inference_mode()
def mean_loss(model: nn.Module, rows: Sequence[np.ndarray], precision: str, budget: Budget) -> float:
    """Mean loss per target over `rows`, in nats, without gradients."""
    lengths = np.array([len(row) for row in rows])
    layout = layout_of(model, rows, precision)

    def total(pieces: list[list[int]]) -> float:
        return sum(float(_summed_loss(model, [rows[row] for row in piece], layout, precision)) for piece in pieces)

    summed = budget.fit(lambda tokens: micro_batches(range(len(rows)), lengths, tokens, layout), total)
    return summed / int(lengths.sum() - len(rows))


@torch.inference_mode()
def check_output_layer(model: Any, row: np.ndarray) -> None:
    """Refuse an architecture whose logits are not the last hidden state times the output layer, bounded or not (scales, biases)."""
    ids, mask = pad([row], 0)
    tokens = ids.to(model.device)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()  # [1, tokens-1, vocabulary]
    expected = nn.functional.cross_entropy(logits[0], tokens[0, 1:], reduction="sum")
    loss = summed_loss(model, ids, mask, "fp32")
    if not torch.allclose(expected, loss, rtol=1e-3):
        raise UserError(
            f"next-token training: architecture {model.config.model_type} changes its logits after the output layer, "
            "which is not supported; use gpt2, llama, qwen2, qwen3, opt or gpt_neox"
        )
