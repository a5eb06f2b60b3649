"""Finetune a classifier: the weak supervisor, the student or the ceiling; all weights, adapters, or a linear probe.

All three end as a plain `model/` folder that AutoModelForSequenceClassification loads.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.context import Context
from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json
from w2s_cli.training import classifier, lora, probe
from w2s_cli.training.batching import batches_of_rows, epoch_order, pad
from w2s_cli.training.device import pick_device
from w2s_cli.training.loop import Recipe, train
from w2s_cli.training.models import quiet, save_model
from w2s_cli.training.pretrained import base_folder, weights_format
from w2s_cli.training.supervision import read_rows, targets
from w2s_cli.training.tokens import context_limit, encode, open_tokenizer


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Train and write `ctx.result/model`.

    `params`: model, loss {name, args}, mode "full" | "lora" | "probe", lora {r, alpha}, labels "soft" | "hard", batch_size,
    max_length, truncation, precision, seed, and the fields of `training.loop.Recipe`.
    `inputs`: rows; labels (absent: ground truth); features (mode probe); model (instead of params.model).
    """
    fault("finetune.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    taught = targets(rows, cast(Path | None, inputs.get("labels")), params["labels"])
    folder = base_folder(params.get("model"), cast(Path | None, inputs.get("model")), ctx)
    ctx.measure(weights=weights_format(folder))
    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    model = classifier.open_base(
        folder, tokenizer, rows.classes, params["seed"], device, ctx.execution, params["max_length"]
    )
    limit = context_limit(model.config, tokenizer, params["max_length"])
    trained: nn.Module = model
    tuner = None
    if params["mode"] == "probe":
        features = cast(Path, inputs["features"])
        trained, forward, lengths = _probe(features, rows.ids, model, device)
        truncated = (read_json(features / "manifest.json") or {}).get("metrics", {}).get("truncated")
    else:
        if params["mode"] == "lora":
            tuner = lora.add(model, params["lora"]["r"], params["lora"]["alpha"], params["seed"])
        elif params["mode"] != "full":
            raise UserError(f'mode={params["mode"]} is unknown; use "full", "lora" or "probe"')
        if ctx.execution.get("gradient_checkpointing"):
            model.gradient_checkpointing_enable({"use_reentrant": False})
        tokens = encode(tokenizer, rows.texts, limit)
        lengths, truncated = tokens.lengths, tokens.summary()

        def forward(piece: list[int]) -> Tensor:
            ids, mask = pad([tokens.ids[row] for row in piece], tokenizer.pad_token_id, device)
            return classifier.logits(model, ids, mask, params["precision"])

    ctx.log(f"{len(rows.ids)} rows, {int(lengths.sum())} tokens, {truncated['rows'] if truncated else 0} rows cut")

    def batches(epoch: int) -> list[list[int]]:
        return batches_of_rows(epoch_order(len(rows.ids), params["seed"], epoch), params["batch_size"])

    loss = load_loss(params["loss"]["name"], ctx.execution.get("loss_folders", ()))
    taught_here = torch.from_numpy(taught).to(device)
    objective = classifier.objective(forward, lengths, taught_here, loss, params["loss"]["args"])
    sums = train(trained, objective, batches, Recipe.of(params), ctx, "finetune")
    metrics = {
        "final_loss": sums["loss"],  # mean over the updates of the last epoch
        "train_accuracy_vs_labels": sums["right"] / sums["rows"],  # before each update of the last epoch
        "steps": int(sums["steps"]),
        "rows": len(rows.ids),
        "truncated": truncated,
        "tokens": int(lengths.sum()),
        "padding": round(sums["padded"] / sums["tokens"] - 1, 4),
    }
    if trained is not model:
        with torch.no_grad():
            model.score.weight.copy_(cast(nn.Linear, trained).weight)
    if tuner is not None:
        model = lora.merge(tuner)
    tokenizer.model_max_length = limit
    save_model(model, tokenizer, ctx.result / "model", _card(params, metrics, rows.classes))
    return metrics


def _probe(
    features: Path, ids: list[str], model: Any, device: torch.device
) -> tuple[nn.Module, Callable[[list[int]], Tensor], np.ndarray]:
    """The head to train, its forward pass by row numbers, and the lengths (one token a row)."""
    if not classifier.is_causal(model):
        raise UserError(
            f"train=probe needs a causal model, and {model.config.model_type} is not one; use train=finetune"
        )
    known = torch.from_numpy(probe.read_features(features, ids)).to(device)  # [rows, width]
    head = probe.new_head(known.shape[1], model.config.num_labels).to(device)
    return head, lambda piece: head(known[piece]), np.ones(len(ids), dtype=np.int64)


def _card(params: dict[str, Any], metrics: dict[str, Any], classes: list[str]) -> str:
    """The model card's text."""
    model = params.get("model") or {}
    base = f"`{model['id']}` at revision `{model['revision']}`" if "id" in model else "a local model"
    return (
        f"A text classifier ({', '.join(classes)}), finetuned by `w2s` from {base}.\n\n"
        f"* mode {params['mode']}, loss {params['loss']['name']}, {params['labels']} labels, {metrics['rows']:,} rows, "
        f"{params['epochs']} epochs of batch {params['batch_size']}\n"
        f"* {params['optimizer']}, learning rate {params['lr']}, schedule {params['schedule']}, "
        f"precision {params['precision']}, seed {params['seed']}\n"
        f"* texts are cut to {params['max_length']} tokens on the {params['truncation']}\n\n"
        "```python\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "model = AutoModelForSequenceClassification.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "```\n"
    )
