"""The trunk: a Hugging Face model without its head, which classifiers and language models share. Its layers, inputs and settings."""

from typing import Any

import torch
from torch import nn


def attention_for(device: torch.device, max_length: int) -> str | None:
    """The attention backend: plain matmuls on a CPU while rows are short (faster), else transformers' choice."""
    return "eager" if device.type == "cpu" and max_length <= 256 else None


def zero_dropout(config: Any) -> None:
    """Set every dropout rate of a config to 0. The model can then stay in train mode, which gradient checkpointing needs."""
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, 0.0)


def usable_positions(model: Any) -> int | None:
    """Tokens that a row of `model` may have by its position embedding; None without a limit in its config."""
    positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return positions if positions is None else positions - _first_position(model)


def counts_positions_from_pad(model: Any) -> bool:
    """Whether the position of a row's first token is the pad id + 1, as in RoBERTa, XLM-R and MPNet."""
    return _first_position(model) > 0


def _first_position(model: Any) -> int:
    """The position of a row's first token: those that count from the pad id have an embedding of positions with a row for padding."""
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Embedding)
            and "position" in name.rpartition(".")[2]
            and module.padding_idx is not None
        ):
            return module.padding_idx + 1
    return 0


def layers(trunk: nn.Module) -> nn.ModuleList:
    """The layers of a trunk; of one with an image encoder (Gemma 3), the language model's."""
    count = trunk.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    return next(part for part in text_part(trunk).modules() if isinstance(part, nn.ModuleList) and len(part) == count)


def text_part(trunk: nn.Module) -> nn.Module:
    """The language model of a trunk that has other parts too, by transformers' name for it; else the trunk."""
    return getattr(trunk, "language_model", trunk)


def inputs(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """`ids` and `mask` of padded rows, both [rows, tokens], as the arguments of `model`, on the model's device."""
    return {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
