"""Label as token: the head of a classifier starts from the language model's rows for the label tokens, one for each class.

Sources: Burns et al. 2023 (appendix A) replace the unembedding by a head that starts from the rows of the label tokens; the automated
weak-to-strong sandbox classifies by the label token after "Answer:".

* Before training, the logits are the language model's next-token logits of the label tokens.
* The softmax of the loss is over the label tokens only, so the probabilities sum to 1 over the classes. A softmax over the full
  vocabulary would also reward label tokens for being more likely than all other words.
* The head trains apart from the embedding (untied). The model stays an AutoModelForSequenceClassification; its config holds the
  suffix that its texts need (`prompting.SUFFIX`).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.training.models.language_model import label_ids, label_rows, open_language_model
from w2s_cli.training.prompting import SUFFIX, TOKENS


def check(head: dict[str, Any] | None, mode: str, *, pairs: bool) -> None:
    """Refuse settings that a head of label tokens does not support; None is the plain linear head.

    Raises:
        UserError: a probe or pairs, or fields other than tokens and suffix.
    """
    if head is None:
        return
    for name in head:
        if name not in ("tokens", "suffix"):
            raise UserError(f"train.head.{name} is unknown.{did_you_mean(name, ('tokens', 'suffix'))}")
    if not head.get("tokens"):
        raise UserError('train.head needs tokens, one for each class, for example [" no", " yes"]')
    if mode == "probe":
        raise UserError("train=probe has a linear head on stored features; label tokens need mode=full or lora")
    if pairs:
        raise UserError("label tokens classify single texts, and these rows are pairs; use train=finetune")


def first_rows(
    folder: Path, tokenizer: Any, head: dict[str, Any], classes: list[str], execution: dict[str, Any]
) -> Tensor:
    """The first weights of the head, [classes, width] fp32, from the language model in `folder`."""
    ids = label_ids(tokenizer, head["tokens"], classes)
    return label_rows(open_language_model(folder, torch.device("cpu"), execution, 1), ids)


def install(model: Any, head: dict[str, Any] | None, rows: Tensor | None) -> None:
    """Put `rows` into the classifier's head and the suffix into its config; without a `head` the base's own suffix is removed."""
    for name in (SUFFIX, TOKENS):
        if hasattr(model.config, name):
            delattr(model.config, name)
    if head is None or rows is None:
        return
    with torch.no_grad():
        model.score.weight.copy_(rows)
    setattr(model.config, SUFFIX, head.get("suffix") or "")
    setattr(model.config, TOKENS, list(head["tokens"]))
