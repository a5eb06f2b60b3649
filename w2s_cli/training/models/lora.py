"""Low-rank adapters (LoRA, Hu et al. 2021) by peft; `adapters.py` saves and opens them.

* By default every linear layer of the body has adapters, as in Dettmers et al. 2023 (QLoRA) and in the weak-to-strong papers with LoRA;
  peft's own default is the queries and values only. The head is never adapted: it is new, and trained in full.
* The update is scaled by alpha / r, with rslora by alpha / √r (Kalajdzievski 2023).
* The random numbers of `dropout` are a function of the seed, the update and the micro-batch (`seed_dropout`). So a killed training
  continues with the same bytes, and a loss in two passes sees the same masks twice.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.statistics.draw import uniform
from w2s_cli.training.models.trunk import text_part

ALL_LINEAR = "all-linear"
HEAD = ("score", "classifier", "pooler")  # trained in full: new, or new in part


def add(model: Any, settings: dict[str, Any], seed: int, device: torch.device | None = None) -> Any:
    """Put adapters into `model` in place, and freeze all other weights except the head; `merge` takes the returned tuner.

    `settings`: targets ("all-linear", or names of linear layers), r, alpha, rslora, dropout, and base "nf4" for frozen weights in 4 bits
    on `device`, of a training; a model that is only read has rounded weights (`nf4.round_base`).

    Raises:
        UserError: a target that names no linear layer of the body, or an architecture without one.
    """
    from peft import LoraConfig, LoraModel

    from w2s_cli.training.models import bf16

    config = LoraConfig(
        r=settings["r"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        use_rslora=settings["rslora"],
        target_modules=_targets(model, settings["targets"]),
    )
    if settings.get("base") == "nf4" and device is not None:
        from w2s_cli.training.models import nf4

        nf4.quantise(model, device)
    torch.manual_seed(seed)
    try:
        with bf16.hidden(model):
            tuner = LoraModel(model, config, "default")
    except ValueError as error:
        raise UserError(f"train=lora does not fit the architecture {model.config.model_type}: {error}") from error
    for name, parameter in model.named_parameters():
        if in_head(name):
            parameter.requires_grad_(True)
    if device is not None:
        model.to(device)
    model.eval()  # peft's dropout is new, so in train mode: the trial of packed rows would see its masks; the loop switches it on
    return tuner


def linear_layers(model: Any) -> list[str]:
    """The full names of the linear layers of a model's body."""
    from transformers.pytorch_utils import Conv1D

    words = model.get_output_embeddings()  # of a language model: no part of the body
    body = set(text_part(model.base_model).modules())  # an image encoder beside it sees no text
    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D)]
    return [name for name, part in parts if part in body and part is not words and not in_head(name)]


def _targets(model: Any, targets: str | list[str]) -> list[str]:
    """The full names of the adapted layers."""
    linear = linear_layers(model)
    if not linear:
        raise UserError(
            f"train=lora does not fit the architecture {model.config.model_type}: its body has no linear layer"
        )
    if targets == ALL_LINEAR:
        return linear
    for target in targets:
        if not any(_named(name, target) for name in linear):
            names = dict.fromkeys(name.rpartition(".")[2] for name in linear)
            raise UserError(
                f"train.lora.targets: {model.config.model_type} has no linear layer {target}.{did_you_mean(target, names)}"
            )
    return [name for name in linear if any(_named(name, target) for target in targets)]


def _named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def in_head(name: str) -> bool:
    """Whether a weight or module belongs to the head of a classifier."""
    return any(part in HEAD for part in name.split("."))


def seed_dropout(seed: int, progress: float, first_row: int) -> None:
    """Seed the random numbers of the adapters' dropout for the micro-batch that begins with the row number `first_row`."""
    torch.manual_seed(int(uniform("dropout", seed, repr(progress), first_row) * 2**53))


def merge(tuner: Any) -> Any:
    """The plain model, its weights with the adapters added; layers in bf16 (`bf16.py`) round the sum."""
    if getattr(tuner.model, "is_loaded_in_4bit", False):
        from w2s_cli.training.models import nf4

        return nf4.merge(tuner)
    return tuner.merge_and_unload()


@torch.no_grad()
def merge_by(tuner: Any, opened: Callable[[nn.Module], Tensor], dtype: torch.dtype) -> set[nn.Module]:
    """Add the adapters layer by layer to the weights that `opened` gives in fp32, in place; returns the layers, now in `dtype`."""
    from w2s_cli.training.models import bf16

    merged = set()
    for part in tuner.model.modules():
        layer = getattr(part, "base_layer", None)
        if layer is not None:
            part.lora_A.cpu()
            part.lora_B.cpu()
            weight = opened(layer)
            bf16.put(layer, (weight + part.get_delta_weight("default").to(weight.device)).to(dtype))
            merged.add(layer)
    tuner.unload()
    return merged
