"""Label as token: the head of a classifier starts from the language model's rows for the label tokens, one for each class.

Sources: Burns et al. 2023 (appendix A) replace the unembedding by a head that starts from the rows of the label tokens; the automated
weak-to-strong sandbox classifies by the label token after "Answer:".

* Before training, the logits are the language model's next-token logits of the label tokens.
* The softmax of the loss is over the label tokens only, so the probabilities sum to 1 over the classes. A softmax over the full
  vocabulary would also reward label tokens for being more likely than all other words.
* `frozen`: the head keeps these rows, and the body (or its adapters) learns.
* `next_token`: the loss of a language model, over the whole vocabulary, on the label token and on the end token after it
  (`objectives/label_tokens.py`), as supervised finetuning has it. It needs the frozen head, since only the label tokens' rows are saved.
* The head trains apart from the embedding (untied). The model stays an AutoModelForSequenceClassification; its config holds the
  suffix that its texts need (`prompting.SUFFIX`).
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.training.models.language_model import label_ids, label_rows, open_language_model
from w2s_cli.training.prompting import SUFFIX, TOKENS

FIELDS = ("tokens", "suffix", "frozen", "next_token")


class LabelHead(NamedTuple):
    """The part of a language model that classifies."""

    settings: dict[str, Any]  # FIELDS
    ids: list[int]  # label tokens, in the order of the classes
    rows: Tensor  # [classes, width] fp32, their rows of the output layer
    layer: Tensor | None = None  # [vocabulary, width] fp32, the whole output layer, for next_token


def check(head: dict[str, Any] | None, mode: str, *, pairs: bool) -> None:
    """Refuse settings that a head of label tokens does not support; None is the plain linear head.

    Raises:
        UserError: a probe or pairs, or unknown fields.
    """
    if head is None:
        return
    for name in head:
        if name not in FIELDS:
            raise UserError(f"train.head.{name} is unknown.{did_you_mean(name, FIELDS)}")
    if not head.get("tokens"):
        raise UserError('train.head needs tokens, one for each class, for example [" no", " yes"]')
    if mode == "probe":
        raise UserError("train=probe has a linear head on stored features; label tokens need mode=full or lora")
    if pairs:
        raise UserError("label tokens classify single texts, and these rows are pairs; use train=finetune")


def read(
    folder: Path, tokenizer: Any, head: dict[str, Any], classes: list[str], execution: dict[str, Any]
) -> LabelHead:
    """The head of the language model in `folder` for these classes."""
    ids = label_ids(tokenizer, head["tokens"], classes)
    model = open_language_model(folder, torch.device("cpu"), execution, 1, kept="stored")
    layer = model.get_output_embeddings().weight.detach().float().clone() if head.get("next_token") else None
    return LabelHead(head, ids, label_rows(model, ids), layer)


def install(model: Any, head: LabelHead | None) -> None:
    """Put the head's rows into the classifier and its suffix into the config; without a `head` the base's own suffix is removed."""
    for name in (SUFFIX, TOKENS):
        if hasattr(model.config, name):
            delattr(model.config, name)
    if head is None:
        return
    with torch.no_grad():
        model.score.weight.copy_(head.rows)
    setattr(model.config, SUFFIX, head.settings.get("suffix") or "")
    setattr(model.config, TOKENS, list(head.settings["tokens"]))
