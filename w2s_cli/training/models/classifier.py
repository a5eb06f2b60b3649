"""A sequence classifier on any pretrained model.

* Causal models get a linear head on the last real token's hidden state: fp32, no bias, zero at the start, so that the first
  prediction is "all classes equal". The position comes from the attention mask.
* Encoders (BERT, DeBERTa) keep their architecture's own head, initialised from the seed.
* It is the architecture's AutoModelForSequenceClassification all along, so a saved model is a plain folder that
  transformers loads and that gives the same logits.
* A pair is two texts in one forward pass: a model with one output (a reward model) has the logits [r(text), r(second)] for it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.losses import Loss
from w2s_cli.training.attention import packed
from w2s_cli.training.batching import LAUNCHED, PADDED, Layout, gather, micro_batches, pad
from w2s_cli.training.device import autocast
from w2s_cli.training.loop import Contribution, Objective
from w2s_cli.training.models import token_head
from w2s_cli.training.models.building import attention_for, inputs, zero_dropout
from w2s_cli.training.models.opening import open_part, open_weights
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
    head: dict[str, Any] | None = None,
) -> Any:
    """The classifier of the base model in `folder`, with a new head, in fp32 on `device`, without dropout.

    `head` {tokens, suffix}: the head starts from the language model's rows of these tokens (`token_head`).
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = open_part(AutoConfig, folder, trust_remote_code=bool(execution.get("trust_remote_code")))
    _check_head(config, len(classes), folder)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    zero_dropout(config)
    rows = token_head.first_rows(folder, tokenizer, head, list(classes), execution) if head else None
    torch.manual_seed(seed)  # heads of encoders are random
    attention = attention_for(device, max_length)
    model, fresh = open_weights(AutoModelForSequenceClassification, folder, config, attention, new_head=True)
    _new_head(model, fresh)
    token_head.install(model, head, rows)
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


def _check_head(config: Any, outputs: int, folder: Path) -> None:
    """Refuse a finished classifier whose head has another size, as transformers does without saying so."""
    finished = any(str(name).endswith("ForSequenceClassification") for name in config.architectures or [])
    if finished and config.num_labels != outputs:
        raise UserError(
            f"the model in {folder} is a classifier with {config.num_labels} outputs, and these rows need {outputs} "
            "(one for pairs of texts, else one for each class): start from the language model that it was made of"
        )


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
    """Hidden state of the last real token, [rows, width] fp32, of a causal model; ids and mask are [rows, tokens] on the CPU."""
    with autocast(model.device, precision):
        if packed.usable(model, precision):
            return packed.last_states(model, ids, mask).float()
        hidden = model.base_model(**inputs(model, ids, mask), use_cache=False).last_hidden_state
    last = (mask.sum(1) - 1).to(model.device)  # padding is on the right
    return hidden[torch.arange(len(ids), device=model.device), last].float()  # type: ignore[no-any-return]


def logits(model: Any, ids: Tensor, mask: Tensor, precision: str) -> Tensor:
    """Class logits [rows, classes] in fp32; the head of a causal model is computed in fp32 too."""
    if is_causal(model):
        return model.score(last_token_features(model, ids, mask, precision))  # type: ignore[no-any-return]
    with autocast(model.device, precision):
        return model(**inputs(model, ids, mask)).logits.float()  # type: ignore[no-any-return]


def on_rows(
    model: Any,
    tokens: TokenRows,
    rows: Sequence[int],
    pad_id: int,
    precision: str,
    read: Callable[..., Tensor] = logits,
) -> Tensor:
    """`read(model, ids, mask, precision)` for some rows: [rows, width]; for pairs, both texts in one pass: [rows, 2, width]."""
    sequences = [tokens.ids[row] for row in rows]
    if tokens.second is not None:
        sequences += [tokens.second[row] for row in rows]
    ids, mask = pad(sequences, pad_id)
    found = read(model, ids, mask, precision)
    return found if tokens.second is None else found.reshape(2, len(rows), -1).transpose(0, 1)


def layout_for(model: Any, precision: str) -> Layout:
    """How this classifier's rows lie in a micro-batch."""
    if is_causal(model) and packed.usable(model, precision):
        return packed.layout(model)
    return PADDED if model.device.type == "cpu" else LAUNCHED


def class_logits(found: Tensor) -> Tensor:
    """Logits [rows, classes] from a classifier's outputs [rows, classes] or a reward model's for pairs [rows, 2, 1]."""
    return found.squeeze(-1) if found.ndim == 3 else found


def objective(
    forward: Callable[[list[int]], Tensor],
    lengths: np.ndarray,
    targets: Tensor,
    loss: Loss,
    args: dict[str, Any],
    *,
    weights: Tensor | None = None,
    tokens: np.ndarray | None = None,
    layout: Layout = PADDED,
) -> Objective:
    """The training objective: `forward(rows)` gives logits [rows, classes], `targets` is [all rows, classes].

    `weights` [all rows] multiply the targets: for a loss that is linear in them (cross-entropy) the rows' losses. `tokens` are the
    real tokens of each row where these are not `lengths` (pairs).

    The loss sees what it would see if the effective batch went through at once. A loss that is a mean over rows is taken
    per micro-batch. Any other one is computed on the logits of the whole batch, from a first pass without gradients,
    and a second pass sends its gradient with respect to the logits back through each micro-batch.
    """
    taught = targets if weights is None else targets * weights[:, None]
    real = lengths if tokens is None else tokens

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
        pieces = micro_batches(chosen, lengths, micro_tokens, layout)
        slopes: list[Tensor] | None = None
        whole = torch.zeros(())
        if len(pieces) > 1 and not loss.per_example:
            with torch.no_grad():
                known = torch.cat([forward(piece) for piece in pieces])
            known.requires_grad_()
            order = [row for piece in pieces for row in piece]
            value = loss_of(known, taught[order], progress)
            (gradient,) = torch.autograd.grad(value, known)
            slopes, whole = list(torch.split(gradient, [len(piece) for piece in pieces])), value.detach()
        for number, piece in enumerate(pieces):
            found = forward(piece)
            share = len(piece) / len(chosen)
            if slopes is None:
                part = loss_of(found, taught[piece], progress) * share
                value, backward = part.detach(), part
            else:
                value, backward = whole * share, (found * slopes[number]).sum()
            right = (found.argmax(1) == targets[piece].argmax(1)).sum()
            seen, room = int(real[piece].sum()), layout.room(lengths[piece])
            yield Contribution(
                backward, {"loss": value, "right": right, "rows": len(piece), "tokens": seen, "padded": room}
            )

    return contributions


@torch.inference_mode()
def predict(model: Any, tokens: TokenRows, precision: str, budget: int, read: Callable[..., Tensor]) -> np.ndarray:
    """`read(model, ids, mask, precision)` for all rows, in their order: [rows, width], or of pairs [rows, 2, width], float32.

    Length-sorted batches of at most `budget` tokens, without gradients.
    """
    layout = layout_for(model, precision)
    return gather(lambda rows: on_rows(model, tokens, rows, 0, precision, read), tokens.taken(layout), budget, layout)
