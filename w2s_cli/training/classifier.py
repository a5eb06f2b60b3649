"""A sequence classifier on any pretrained model.

* Causal models get a linear head on the last real token's hidden state: fp32, no bias, zero at the start, so that the first
  prediction is "all classes equal". The position comes from the attention mask.
* Encoders (BERT, DeBERTa) keep their architecture's own head, initialised from the seed.
* It is the architecture's AutoModelForSequenceClassification all along, so a saved model is a plain folder that
  transformers loads and that gives the same logits.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.losses import Loss
from w2s_cli.training.batching import micro_batches, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.loop import Contribution, Objective
from w2s_cli.training.models import attention_for, zero_dropout
from w2s_cli.training.pretrained import open_part, open_weights
from w2s_cli.training.tokens import TokenRows


def is_causal(model: Any) -> bool:
    """Whether the head is the linear `score` on one token's hidden state."""
    return isinstance(getattr(model, "score", None), nn.Linear)


def open_base(
    folder: Path,
    tokenizer: Any,
    classes: Sequence[str],
    seed: int,
    device: torch.device,
    execution: dict[str, Any],
    max_length: int,
) -> Any:
    """The classifier of the base model in `folder`, with a new head, in fp32 on `device`, without dropout."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = open_part(AutoConfig, folder, trust_remote_code=bool(execution.get("trust_remote_code")))
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    zero_dropout(config)
    torch.manual_seed(seed)  # heads of encoders are random
    attention = attention_for(device, max_length)
    model, fresh = open_weights(AutoModelForSequenceClassification, folder, config, attention, new_head=True)
    _new_head(model, fresh)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:  # the added pad token
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[tokenizer.pad_token_id] = 0
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(device)


def open_finished(folder: Path, device: torch.device, execution: dict[str, Any], max_length: int) -> Any:
    """A classifier that a finetune stage saved, in eval mode."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = open_part(AutoConfig, folder, trust_remote_code=bool(execution.get("trust_remote_code")))
    attention = attention_for(device, max_length)
    model, _ = open_weights(AutoModelForSequenceClassification, folder, config, attention, new_head=False)
    return model.to(device).eval()


def _new_head(model: Any, fresh: set[str]) -> None:
    """Start from a new head: zero for causal models; for encoders what the checkpoint did not bring is random already."""
    if is_causal(model):
        nn.init.zeros_(model.score.weight)
        return
    classifier = getattr(model, "classifier", None)
    if not isinstance(classifier, nn.Module):
        raise UserError(
            f"{type(model).__name__} has neither a score nor a classifier head; this architecture is not supported"
        )
    if any(name.startswith("classifier.") for name in fresh):
        return
    for module in classifier.modules():  # a finished classifier is the base: its head is not kept
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=getattr(model.config, "initializer_range", 0.02))
            nn.init.zeros_(module.bias)


def last_token_features(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Hidden state of the last real token, [rows, width] fp32, of a causal model; ids and mask are [rows, tokens]."""
    with autocast(ids.device, precision):
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    last = mask.sum(1) - 1  # padding is on the right
    return hidden[torch.arange(len(ids), device=ids.device), last].float()  # type: ignore[no-any-return]


def logits(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Class logits [rows, classes] in fp32; the head of a causal model is computed in fp32 too."""
    if is_causal(model):
        return model.score(last_token_features(model, ids, mask, precision))  # type: ignore[no-any-return]
    with autocast(ids.device, precision):
        return model(input_ids=ids, attention_mask=mask).logits.float()  # type: ignore[no-any-return]


def objective(
    forward: Callable[[list[int]], Tensor], lengths: np.ndarray, targets: Tensor, loss: Loss, args: dict[str, Any]
) -> Objective:
    """The training objective: `forward(rows)` gives logits [rows, classes], `targets` is [all rows, classes].

    The loss sees what it would see if the effective batch went through at once. A loss that is a mean over rows is taken
    per micro-batch. Any other one is computed on the logits of the whole batch, from a first pass without gradients,
    and a second pass sends its gradient with respect to the logits back through each micro-batch.
    """

    def loss_of(logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        name = getattr(loss.function, "__name__", "?")
        try:
            value: Tensor = loss.function(logits, labels, progress=progress, **args)
        except TypeError as error:
            raise UserError(f"loss {name} cannot be computed with the arguments {args}: {error}") from error
        if value.ndim:
            raise UserError(
                f"loss {name} must return a scalar, the mean over its rows, and returned shape {list(value.shape)}"
            )
        return value

    def contributions(chosen: Sequence[int], progress: float, micro_tokens: int) -> Iterator[Contribution]:
        pieces = micro_batches(chosen, lengths, micro_tokens)
        slopes: list[Tensor] | None = None
        whole = torch.zeros(())
        if len(pieces) > 1 and not loss.per_example:
            with torch.no_grad():
                known = torch.cat([forward(piece) for piece in pieces])
            known.requires_grad_()
            order = [row for piece in pieces for row in piece]
            value = loss_of(known, targets[order], progress)
            (gradient,) = torch.autograd.grad(value, known)
            slopes, whole = list(torch.split(gradient, [len(piece) for piece in pieces])), value.detach()
        for number, piece in enumerate(pieces):
            found = forward(piece)
            share = len(piece) / len(chosen)
            if slopes is None:
                part = loss_of(found, targets[piece], progress) * share
                value, backward = part.detach(), part
            else:
                value, backward = whole * share, (found * slopes[number]).sum()
            right = (found.argmax(1) == targets[piece].argmax(1)).sum()
            tokens, padded = int(lengths[piece].sum()), int(lengths[piece].max()) * len(piece)
            yield Contribution(
                backward, {"loss": value, "right": right, "rows": len(piece), "tokens": tokens, "padded": padded}
            )

    return contributions


@torch.inference_mode()
def predict(
    model: Any, tokens: TokenRows, device: torch.device, precision: str, budget: int, read: Callable[..., Tensor]
) -> np.ndarray:
    """`read(model, ids, mask, precision)` for all rows, in their order: [rows, width] float32.

    Length-sorted batches of at most `budget` padded tokens, without gradients.
    """
    found: np.ndarray | None = None
    for piece in micro_batches(range(len(tokens.ids)), tokens.lengths, budget):
        ids, mask = pad([tokens.ids[row] for row in piece], 0, device)
        part = read(model, ids, mask, precision).cpu().numpy()
        if found is None:
            found = np.empty((len(tokens.ids), part.shape[1]), dtype=np.float32)
        found[piece] = part
    assert found is not None
    return found
