"""Models of any Hugging Face architecture: fresh ones, saved ones."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.training.models.opening import fuse_activations


def quiet() -> None:
    """No transformers notes and bars on the worker's streams: what matters becomes an error or a line of log.txt."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def attention_for(device: torch.device, max_length: int) -> str | None:
    """The attention backend: plain matmuls on a CPU while rows are short (faster there), else transformers' choice."""
    return "eager" if device.type == "cpu" and max_length <= 256 else None


def fresh_language_model(
    architecture: dict[str, Any], tokenizer: Any, max_length: int, seed: int, device: torch.device
) -> Any:
    """A causal language model with random weights from `seed`; `architecture` is {model_type, …config fields}.

    Raises:
        UserError: unknown model_type or field, or positions for fewer than `max_length` tokens.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

    fields = dict(architecture)
    model_type = fields.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        raise UserError(
            f"architecture.model_type={model_type} is unknown.{did_you_mean(str(model_type), CONFIG_MAPPING)}"
        )
    known = AutoConfig.for_model(model_type).to_dict()
    for name in fields:
        if name not in known:
            raise UserError(f"architecture.{name} is not a field of {model_type}.{did_you_mean(name, known)}")
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
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).float().to(device)
    except (ValueError, TypeError) as error:
        raise UserError(f"architecture {model_type}: {error}") from error
    fuse_activations(model)
    return model


def zero_dropout(config: Any) -> None:
    """Set every dropout rate in a config to 0: training then is in train mode, as gradient checkpointing needs."""
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, 0.0)


def layers(trunk: nn.Module) -> nn.ModuleList:
    """The layers of a model without its head."""
    count = trunk.config.num_hidden_layers  # type: ignore[union-attr]
    return next(part for part in trunk.modules() if isinstance(part, nn.ModuleList) and len(part) == count)


def inputs(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Padded rows, [rows, tokens] both, as the arguments of `model`, on its device."""
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}


def save_model(model: Any, tokenizer: Any, folder: Path, card: str) -> None:
    """Write a plain save_pretrained folder with tokenizer and model card."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    head = "---\nlibrary_name: transformers\ntags: [weak-to-strong]\n---\n\n"
    (folder / "README.md").write_text(head + card, encoding="utf-8")
