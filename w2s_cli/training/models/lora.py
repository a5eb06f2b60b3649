"""Low-rank adapters (LoRA, Hu et al. 2021) by peft, merged into the weights before saving: a saved model is a plain model."""

from typing import Any

import torch

from w2s_cli.errors import UserError

_HEAD = ("score", "classifier", "pooler")  # trained in full: new, or new in part


def add(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """Put adapters into `model` in place, and freeze all other weights except the head; `merge` takes the returned tuner.

    Adapters go into peft's default modules for the architecture; without a default, into all linear layers of the trunk.
    """
    from peft import LoraConfig, LoraModel
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN_TARGETS

    targets = KNOWN_TARGETS.get(model.config.model_type, "all-linear")
    torch.manual_seed(seed)
    try:
        tuner = LoraModel(
            model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets), "default"
        )
    except ValueError as error:
        raise UserError(f"train=lora does not fit the architecture {model.config.model_type}: {error}") from error
    for name, parameter in model.named_parameters():
        if any(part in _HEAD for part in name.split(".")):
            parameter.requires_grad_(True)
    return tuner


def merge(tuner: Any) -> Any:
    """The plain model, its weights with the adapters added."""
    return tuner.merge_and_unload()
