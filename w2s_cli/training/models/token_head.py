"""Label as token: a classifier whose head starts as the language model's own rows of one token for each class.

Burns et al. 2023 (appendix A) replace the unembedding by a head that starts from the rows of the label tokens; the automated
weak-to-strong sandbox classifies by the label token after "Answer:".

* Before any training the logits are those of the language model for its next token, restricted to the label tokens.
* The loss is a softmax over the label tokens only. A loss over the full vocabulary would also pay for making the label tokens
  likely against all other words; here only their order counts, and the probabilities sum to 1 over the classes.
* The head then trains by itself, untied from the embedding. The model stays an AutoModelForSequenceClassification; its config says
  which suffix its texts need (`prompting.SUFFIX`).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.training.models.language_model import label_ids, label_rows, open_language_model
from w2s_cli.training.prompting import SUFFIX, TOKENS


def check(head: dict[str, Any] | None, mode: str, *, pairs: bool) -> None:
    """Refuse what a head of label tokens cannot do; None is the plain linear head.

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
    """The head to start from, [classes, width] fp32, out of the language model in `folder`."""
    ids = label_ids(tokenizer, head["tokens"], classes)
    return label_rows(open_language_model(folder, torch.device("cpu"), execution, 1), ids)


def install(model: Any, head: dict[str, Any] | None, rows: Tensor | None) -> None:
    """Put `rows` into the classifier's head and the suffix into its config; without them a suffix of its base is dropped."""
    for name in (SUFFIX, TOKENS):
        if hasattr(model.config, name):
            delattr(model.config, name)
    if head is None or rows is None:
        return
    with torch.no_grad():
        model.score.weight.copy_(rows)
    setattr(model.config, SUFFIX, head.get("suffix") or "")
    setattr(model.config, TOKENS, list(head["tokens"]))
