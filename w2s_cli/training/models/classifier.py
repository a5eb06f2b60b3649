"""Opening a sequence classifier: on a pretrained model with a new head, or as a finetune stage saved it.

* The head of a causal model is linear, on the last real token's hidden state: fp32, no bias. It starts at zero, so the first
  prediction is "all classes equal".
* Encoders (BERT, DeBERTa) keep their architecture's own head, initialised from the seed.
* The model is the architecture's AutoModelForSequenceClassification, so transformers loads a saved model without w2s and computes
  the same logits.
* Pairs need a reward model, a classifier with one output (`reward.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from w2s_cli.errors import UserError
from w2s_cli.training.models import bf16, token_head
from w2s_cli.training.models.opening import HOST, add_rows, open_config, open_weights
from w2s_cli.training.models.reading import DIRECT
from w2s_cli.training.models.trunk import attention_for, counts_positions_from_pad


def is_causal(model: Any) -> bool:
    """Whether the head is the linear `score` on one token's hidden state."""
    return isinstance(getattr(model, "score", None), nn.Linear)


def check_probed(model: Any) -> None:
    """Refuse a probe of a model that is not causal."""
    if not is_causal(model):
        raise UserError(
            f"train=probe needs a causal model, and {model.config.model_type} is not one; use train=finetune"
        )


def open_base(
    folder: Path,
    tokenizer: Any,
    classes: Sequence[str],
    seed: int,
    device: torch.device,
    execution: dict[str, Any],
    max_length: int,
    head: token_head.LabelHead | None = None,
    *,
    on_host: bool = False,
    kept: bf16.Kept = "fp32",
) -> Any:
    """The classifier of the base model in `folder`, with a new head, on `device`, without dropout.

    `head`: the head starts from the language model's rows of the label tokens (`token_head.py`). `on_host`: the model stays on the CPU.
    `kept`: the type of the linear layers; everything else is in fp32.
    """
    from transformers import AutoModelForSequenceClassification

    config = open_config(folder, execution)
    _check_head(config, len(classes), folder)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    direct = not on_host and device.type in DIRECT and _has_zero_head(config, execution)
    options: dict[str, Any] = {"new_head": True, "kept": kept, "device": device if direct else HOST}
    attention = attention_for(device, max_length)
    torch.manual_seed(seed)  # heads of encoders are random: drawn on the host, whatever the device
    model, fresh = open_weights(AutoModelForSequenceClassification, folder, config, execution, attention, **options)
    _new_head(model, fresh)
    token_head.install(model, head)
    _give_pad_token(model, tokenizer, folder)
    return model if on_host else model.to(device)


def _has_zero_head(config: Any, execution: dict[str, Any]) -> bool:
    """Whether a classifier of `config` begins with a head of zeros, by one without memory; False too if there is no such classifier."""
    from transformers import AutoModelForSequenceClassification

    remote = bool(execution.get("trust_remote_code"))
    try:
        with torch.device("meta"):
            return is_causal(AutoModelForSequenceClassification.from_config(config, trust_remote_code=remote))
    except Exception:  # who opens the weights tells the reason
        return False


def open_finished(
    folder: Path, device: torch.device, execution: dict[str, Any], max_length: int, kept: bf16.Kept = "fp32"
) -> Any:
    """A classifier that a finetune stage saved, in eval mode; `kept`: the type of its linear layers."""
    from transformers import AutoModelForSequenceClassification

    config = open_config(folder, execution)
    attention = attention_for(device, max_length)
    options: dict[str, Any] = {"new_head": False, "kept": kept, "device": device}
    model, _ = open_weights(AutoModelForSequenceClassification, folder, config, execution, attention, **options)
    return model.to(device).eval()


def _give_pad_token(model: Any, tokenizer: Any, folder: Path) -> None:
    """Give the model the tokenizer's pad token: a row of its embedding, and the id in its config, by which heads find the last token.

    A model that counts its positions from its pad id (RoBERTa) keeps that id: another one would shift every position. No other token
    may get a row in this way: it would be untrained.
    """
    pad_id = tokenizer.pad_token_id
    rows = model.get_input_embeddings().num_embeddings
    if pad_id >= rows:
        beyond = [token for token in tokenizer.convert_ids_to_tokens(list(range(rows, pad_id))) if token is not None]
        if beyond:
            raise UserError(
                f"the tokenizer in {folder} has {len(beyond)} tokens (first: {beyond[0]}) behind the end of the model's vocabulary of "
                f"{rows}: it is the tokenizer of another model; save the model's own into that folder"
            )
        add_rows(model, pad_id + 1)
    if not counts_positions_from_pad(model):
        model.config.get_text_config().pad_token_id = model.config.pad_token_id = pad_id


def _check_head(config: Any, outputs: int, folder: Path) -> None:
    """Refuse a finished classifier whose head has another size: transformers would replace it without a message."""
    finished = any(str(name).endswith("ForSequenceClassification") for name in config.architectures or [])
    if finished and config.num_labels != outputs:
        raise UserError(
            f"the model in {folder} is a classifier with {config.num_labels} outputs, and these rows need {outputs} "
            "(one for pairs of texts, else one for each class): start from the language model under it"
        )


def _new_head(model: Any, fresh: set[str]) -> None:
    """Initialise the head: zeros for causal models, random for encoders. `fresh`: weights that the checkpoint does not have."""
    if is_causal(model):
        nn.init.zeros_(model.score.weight)
        return
    classifier = getattr(model, "classifier", None)
    if not isinstance(classifier, nn.Module):
        raise UserError(
            f"{type(model).__name__} has neither a score nor a classifier head; this architecture is not supported"
        )
    if any(name.startswith("classifier.") for name in fresh):  # transformers has drawn random numbers
        return
    for module in classifier.modules():  # the base is a finished classifier: its head is replaced
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=getattr(model.config, "initializer_range", 0.02))
            nn.init.zeros_(module.bias)
