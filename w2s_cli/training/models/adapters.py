"""Adapters as artifacts: what a training with LoRA leaves is its adapters and its head, a few MB, beside the name of their base.

* `model/` has adapter_model.safetensors and adapter_config.json in peft's format, the config.json and tokenizer of the whole model, and
  base.json: the identity of the pretrained base and the number of parameters. No path is in it: a local base is found by the stage's
  execution (`base_path`), a hub base by its id and commit.
* Adapters are kept where the base is a pretrained model. On a model that another stage made they are merged and saved whole: then no
  result depends on another stage's weights.
* Whoever opens such a model gets a plain one: the base's weights in fp32 plus the adapters, merged in memory layer by layer, as peft merges
  them. So predictions are bit for bit those of merged weights, and the fast paths (`attention/`, `fused.py`) see plain layers. The products
  of adapters are computed on the host, whatever the device: then the weights are the same on every device.
* The head is saved whole: `score`, or an encoder's classifier and pooler.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.store.files import disk_errors, read_json, write_json
from w2s_cli.training.models import bf16, lora, nf4
from w2s_cli.training.models.folder import ADAPTER, BASE

PREFIX = "base_model.model."  # of peft's names
KEPT = "lora_"


def save(
    tuner: Any, settings: Mapping[str, Any], base: Mapping[str, Any], folder: Path, tokenizer: Any, card: str
) -> None:
    """Write the adapters of `tuner`, trained with `settings` on the pretrained model `base` ({id, revision} or {sha256}), into `folder`."""
    from w2s_cli.training.models.saving import save_beside

    model = tuner.model
    tensors = {
        PREFIX + name.replace(".default.", "."): value.detach().cpu().contiguous()
        for name, value in model.named_parameters()
        if KEPT in name or lora.in_head(name)
    }
    heads = sorted({part for name in tensors for part in name.split(".") if part in lora.HEAD})
    folder.mkdir(parents=True, exist_ok=True)
    config = tuner.peft_config["default"]
    config.base_model_name_or_path = base.get("id")
    config.revision = base.get("revision")
    config.task_type = "SEQ_CLS" if heads else "CAUSAL_LM"
    config.modules_to_save = heads or None
    config.inference_mode = True
    with disk_errors():
        save_file(tensors, folder / ADAPTER, metadata={"format": "pt"})
        config.save_pretrained(folder)
    write_json(folder / BASE, {"model": dict(base), "lora": dict(settings), "parameters": _plain_count(model)})
    save_beside(model, tokenizer, folder, card)


def _plain_count(model: nn.Module) -> int:
    """Parameters of the model without its adapters."""
    return sum(value.numel() for name, value in model.named_parameters() if KEPT not in name)


def base_of(folder: Path) -> dict[str, Any]:
    """The contents of base.json: model (identity), lora (settings), parameters.

    Raises:
        UserError: the file is missing or damaged.
    """
    written = read_json(folder / BASE)
    if (
        not isinstance(written, dict)
        or not isinstance(written.get("model"), dict)
        or not isinstance(written.get("lora"), dict)
    ):
        raise UserError(
            f"{folder / BASE} is damaged: it must name the base of the adapters beside it; make the stage again"
        )
    return written


def base_folder_of(folder: Path, execution: Mapping[str, Any]) -> Path:
    """The folder of the base of the adapters in `folder`: the local one that the execution names, else the snapshot in the hub cache.

    Raises:
        UserError: the base is a local folder that the execution does not name, or is not in the cache.
    """
    base = base_of(folder)["model"]
    if "id" not in base:
        path = execution.get("base_path") or execution.get("model_path")
        if not path:
            raise UserError(
                f"{folder} holds adapters of a local model, and the stage does not say where that model is: run the command that made "
                "the plan again"
            )
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base["id"], revision=base["revision"], local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{folder} holds adapters of {base['id']} at {base['revision']}, which is not in the hub cache: run the command again"
        ) from error


def on_nf4(folder: Path) -> bool:
    """Whether the adapters in `folder` were trained on a base in 4 bits."""
    return bool(base_of(folder)["lora"].get("base") == "nf4")


def apply(model: Any, folder: Path, kept: bf16.Kept) -> set[str]:
    """Merge the adapters in `folder` into the model of their base, in place; returns the names of the head's weights that were put in.

    Weights of a head of another size are left out: who opens the model makes a new head. `kept`: the type of the merged layers.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        stored = {name.removeprefix(PREFIX): value for name, value in load_file(folder / ADAPTER).items()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"the adapters in {folder} are cut short or damaged ({error}): make the stage again") from error
    settings = base_of(folder)["lora"]
    rounded = nf4.linear(model) if on_nf4(folder) else []
    own = dict(model.named_parameters())
    head = {
        name for name, value in stored.items() if KEPT not in name and name in own and own[name].shape == value.shape
    }
    before = {name: value.requires_grad for name, value in own.items()}
    tuner = lora.add(model, settings, seed=0)
    adapted = dict(model.named_parameters())
    with torch.no_grad():
        for name in head:
            own[name].copy_(stored[name])
        for name, value in stored.items():
            if KEPT in name:
                _put(adapted, name.replace(".weight", ".default.weight"), value, folder)

    def opened(layer: nn.Module) -> Tensor:
        weight: Tensor = layer.weight.data  # type: ignore[assignment, union-attr]
        return nf4.rounded(weight.float()) if layer in rounded else weight.float()

    dtype = torch.bfloat16 if kept == "bf16" else torch.float32
    merged = lora.merge_by(tuner, opened, dtype)
    for layer in rounded:
        if layer not in merged:
            bf16.put(layer, opened(layer).to(dtype))
    if kept == "bf16":
        bf16.narrow(model)
    elif kept == "fp32":
        bf16.widen(model)
    for name, value in model.named_parameters():
        value.requires_grad_(before.get(name, True))
    return head


def _put(weights: Mapping[str, nn.Parameter], name: str, value: Tensor, folder: Path) -> None:
    if name not in weights or weights[name].shape != value.shape:
        raise UserError(
            f"the adapters in {folder} do not fit their base: it has no place for {name}; make the stage again"
        )
    weights[name].copy_(value)
