"""Causal language models: with fresh weights, or pretrained; and the rows of the output layer for label tokens.

* Only causal models have a next token (`architectures.py`).
* The logits of label tokens are the last hidden state times their rows of the output layer. Some architectures scale or cap their
  logits after that layer, so the product is compared with the model's own logits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.training.models import bf16
from w2s_cli.training.models.architectures import Tables, has_next_token
from w2s_cli.training.models.fused import fuse
from w2s_cli.training.models.opening import HOST, open_config, open_weights
from w2s_cli.training.models.trunk import attention_for, zero_dropout


def fresh_language_model(
    architecture: dict[str, Any],
    tokenizer: Any,
    max_length: int,
    seed: int,
    device: torch.device,
    *,
    on_host: bool = False,
) -> Any:
    """A causal language model with random weights drawn from `seed`; `architecture` is {model_type, …config fields}.

    It is for `device`, and lies on it (`on_host`: on the CPU).

    Raises:
        UserError: an unknown model_type or field, or fewer positions than `max_length`.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

    fields = dict(architecture)
    model_type = fields.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        raise UserError(
            f"architecture.model_type={model_type} is unknown.{did_you_mean(str(model_type), CONFIG_MAPPING)}"
        )
    defaults = AutoConfig.for_model(model_type).to_dict()
    for name in fields:
        if name not in defaults:
            raise UserError(f"architecture.{name} is not a field of {model_type}.{did_you_mean(name, defaults)}")
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(model_type, **{"vocab_size": len(tokenizer), **special, **fields})
    zero_dropout(config)
    positions = getattr(config, "max_position_embeddings", max_length)
    if positions < max_length:
        raise UserError(f"max_length={max_length} but architecture has positions for {positions} tokens only")
    torch.manual_seed(seed)
    attention = attention_for(device, max_length)
    try:
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).float()
    except (ValueError, TypeError) as error:
        raise UserError(f"architecture {model_type}: {error}") from error
    fuse(model)
    return model if on_host else model.to(device)


def open_language_model(
    folder: Path,
    device: torch.device,
    execution: dict[str, Any],
    max_length: int,
    *,
    on_host: bool = False,
    kept: bf16.Kept = "fp32",
) -> Any:
    """The causal language model in `folder`, on `device` (`on_host`: on the CPU), without dropout; in fp32, linear layers as `kept` says.

    Raises:
        UserError: the model is not causal, or its checkpoint is incomplete.
    """
    from transformers import AutoModelForCausalLM

    config = open_config(folder, execution)
    _check_causal(config, folder)
    attention = attention_for(device, max_length)
    options: dict[str, Any] = {"new_head": False, "kept": kept, "device": HOST if on_host else device}
    model, _ = open_weights(AutoModelForCausalLM, folder, config, execution, attention, **options)
    return model if on_host else model.to(device)


def _check_causal(config: Any, folder: Path) -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    tables = Tables(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    if not has_next_token(config.to_dict(), tables):
        raise UserError(
            f"the model in {folder} ({config.model_type}) is not a causal language model, so it has no next token; "
            "use one like gpt2, qwen or llama"
        )


def label_ids(tokenizer: Any, tokens: Sequence[str], classes: Sequence[str], before: str = "") -> list[int]:
    """The ids of the label tokens after the text `before`, one for each class, in the order of the classes.

    Raises:
        UserError: another number than classes, a text of several tokens, or two equal tokens.
    """
    if len(tokens) != len(classes):
        raise UserError(
            f"{list(tokens)} are {len(tokens)} label tokens, but there are {len(classes)} classes, {list(classes)}: give one for each "
            "(few_shot.tokens or train.head.tokens)"
        )
    label_token_ids: list[int] = []
    lead = tokenizer(before, add_special_tokens=False)["input_ids"]
    for text in tokens:
        ids = tokenizer(before + text, add_special_tokens=False)["input_ids"]
        # a space at the end of `before` may become one token with the text; but the prompt ends with the space
        apart = ids[: len(lead)] == lead
        ids = ids[len(lead) :] if apart else tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = tokenizer.convert_ids_to_tokens(ids)
            raise UserError(
                f'the label token "{text}" must be one token of this model, but it is {len(ids)}: {pieces}; '
                "choose another word, mind its leading space (few_shot.tokens or train.head.tokens; the bundled models know "
                '" object", " living", " animal", " person")'
            )
        if ids[0] in label_token_ids:
            raise UserError(f'the label token "{text}" is the same token as "{tokens[label_token_ids.index(ids[0])]}"')
        label_token_ids.append(ids[0])
    return label_token_ids


@torch.inference_mode()
def label_rows(model: Any, ids: Sequence[int]) -> Tensor:
    """The rows of the output layer for the label tokens `ids`, [classes, width] fp32.

    Raises:
        UserError: the model's logits are not the last hidden state times these rows (a bias, a scale or a cap).
    """
    chosen = torch.tensor(list(ids), device=model.device)
    rows: Tensor = model.get_output_embeddings().weight[chosen].float().clone()  # [classes, width]
    row = chosen.unsqueeze(0)  # [1, tokens] any text serves
    logits = model(input_ids=row, use_cache=False).logits[0, :, chosen].float()  # [tokens, classes]
    hidden = model.base_model(input_ids=row, use_cache=False).last_hidden_state[0].float()  # [tokens, width]
    if hidden.shape[-1] != rows.shape[-1] or not torch.allclose(hidden @ rows.T, logits, rtol=1e-3, atol=1e-3):
        raise UserError(
            f"architecture {model.config.model_type} changes its logits after the output layer, which label tokens do not "
            "support; use gpt2, llama, qwen2, qwen3, opt or gpt_neox"
        )
    return rows
