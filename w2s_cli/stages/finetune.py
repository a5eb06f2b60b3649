"""Finetune a classifier: the weak supervisor, the student or the ceiling; all weights, adapters, or a linear probe.

All three end as a plain `model/` folder that AutoModelForSequenceClassification loads. Rows that are pairs of texts train a reward
model, which has one output; everything else is the same (`training.supervision`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.context import Context
from w2s_cli.data.artifacts.rows import Rows, read_rows
from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json
from w2s_cli.training.batching import PADDED, Layout, batches_of_rows, epoch_order
from w2s_cli.training.device import pick_device
from w2s_cli.training.loop import Recipe, train
from w2s_cli.training.models import classifier, lora, probe, token_head
from w2s_cli.training.models.building import quiet, save_model
from w2s_cli.training.models.compiled import compile_layers
from w2s_cli.training.models.opening import base_folder, weights_format
from w2s_cli.training.prompting import encode_for
from w2s_cli.training.stopping import Keeper, keeper
from w2s_cli.training.targets import lesson, probabilities
from w2s_cli.training.tokens import TokenRows, context_limit, open_tokenizer


class Fed(NamedTuple):
    """How some rows go through the model."""

    forward: Callable[[list[int]], Tensor]  # row numbers → logits [rows, classes]
    lengths: np.ndarray  # [rows] what a row takes of a micro-batch, in tokens
    layout: Layout
    tokens: np.ndarray  # [rows] real ones
    truncated: dict[str, Any] | None


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Train and write `ctx.result/model`.

    `params`: model, loss {name, args}, mode "full" | "lora" | "probe", lora {r, alpha}, labels "soft" | "hard" | "sharpened",
    sharpening (its temperature), batch_size, max_length, truncation, precision, seed, head {tokens, suffix} (label as token; None: a
    linear head), stopping {metric, every, patience} (None: all steps, the last weights), and the fields of `training.loop.Recipe`.
    `inputs`: rows; labels (absent: ground truth); weights (of rows: factors of their cross-entropy); features (mode probe); model
    (instead of params.model); for stopping validation_rows, validation_labels (absent: ground truth) and validation_features (probe).
    """
    fault("finetune.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    given = cast(dict[str, Path], inputs)
    if "weights" in given and params["loss"]["name"] != "xent":
        raise UserError(
            f"row weights need loss=xent, which is linear in the labels; the loss is {params['loss']['name']}"
        )
    taught = lesson(rows, given.get("labels"), params["labels"], params.get("sharpening"), given.get("weights"))
    rows = taught.rows
    folder = base_folder(params.get("model"), given.get("model"), ctx)
    ctx.measure(weights=weights_format(folder))
    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    head = params.get("head")
    token_head.check(head, params["mode"], pairs=rows.second is not None)
    model = classifier.open_base(
        folder, tokenizer, rows.outputs, params["seed"], device, ctx.execution, params["max_length"], head
    )
    limit = context_limit(model.config, tokenizer, params["max_length"])
    trained: nn.Module = model
    tuner = None
    if params["mode"] == "probe":
        trained = _head(model, device)
    elif params["mode"] == "lora":
        tuner = lora.add(model, params["lora"]["r"], params["lora"]["alpha"], params["seed"])
    elif params["mode"] != "full":
        raise UserError(f'mode={params["mode"]} is unknown; use "full", "lora" or "probe"')
    if ctx.execution.get("gradient_checkpointing") and params["mode"] != "probe":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if ctx.execution.get("compile") and params["mode"] != "probe":
        compile_layers(model, params["precision"])

    def feed(rows: Rows, features: str) -> Fed:
        if trained is model:
            tokens = encode_for(model.config, tokenizer, rows, limit, folder, ctx)
            return _from_tokens(model, tokens, tokenizer.pad_token_id, params["precision"])
        if features not in given:
            raise UserError(f"train=probe needs the input {features}, the features of {rows.path}")
        return _from_features(trained, given[features], rows, device)

    fed = feed(rows, "features")
    held = _keeper(params.get("stopping"), given, rows, feed)
    cut = fed.truncated["rows"] if fed.truncated else 0
    ctx.log(f"{len(rows.ids)} rows, {int(fed.tokens.sum())} tokens, {cut} rows cut")

    def batches(epoch: int) -> list[list[int]]:
        return batches_of_rows(epoch_order(len(rows.ids), params["seed"], epoch), params["batch_size"])

    loss = load_loss(params["loss"]["name"], ctx.execution.get("loss_folders", ()), params["loss"].get("code"))
    targets = torch.from_numpy(taught.targets).to(device)
    args = loss.prepared(targets, params["loss"]["args"])
    weights = None if taught.weights is None else torch.from_numpy(taught.weights).float().to(device)
    objective = classifier.objective(
        fed.forward, fed.lengths, targets, loss, args, weights=weights, tokens=fed.tokens, layout=fed.layout
    )
    sums = train(trained, objective, batches, Recipe.of(params), ctx, "finetune", held)
    metrics: dict[str, Any] = {
        "final_loss": sums["loss"],  # mean over the updates of the last epoch
        "train_accuracy_vs_labels": sums["right"] / sums["rows"],  # before each update of the last epoch
        "steps": int(sums["steps"]),
        "rows": len(rows.ids),
        "truncated": fed.truncated,
        "tokens": int(fed.tokens.sum()),
        "padding": round(sums["padded"] / sums["tokens"] - 1, 4),
    }
    if taught.uncovered is not None:
        metrics["uncovered"] = taught.uncovered
    if held is not None:
        metrics |= {"stopping_on": "weak labels" if "validation_labels" in given else "ground truth", **held.figures()}
    if trained is not model:
        with torch.no_grad():
            model.score.weight.copy_(cast(nn.Linear, trained).weight)
    if tuner is not None:
        model = lora.merge(tuner)
    tokenizer.model_max_length = limit
    save_model(model, tokenizer, ctx.result / "model", _card(params, metrics, rows))
    return metrics


def _head(model: Any, device: torch.device) -> nn.Linear:
    """The head that a probe trains in the place of the model."""
    if not classifier.is_causal(model):
        raise UserError(
            f"train=probe needs a causal model, and {model.config.model_type} is not one; use train=finetune"
        )
    return probe.new_head(model.score.in_features, model.config.num_labels).to(device)


def _from_tokens(model: Any, tokens: TokenRows, pad_id: int, precision: str) -> Fed:
    """The whole model on texts."""

    def forward(piece: list[int]) -> Tensor:
        return classifier.class_logits(classifier.on_rows(model, tokens, piece, pad_id, precision))

    layout = classifier.layout_for(model, precision)
    return Fed(forward, tokens.taken(layout), layout, tokens.real, tokens.summary())


def _from_features(head: nn.Module, features: Path, rows: Rows, device: torch.device) -> Fed:
    """A head on stored features; one token a row."""
    known = torch.from_numpy(probe.row_features(features, rows)).to(device)  # [rows, width], pairs [rows, 2, width]
    ones = np.ones(len(rows.ids), dtype=np.int64)
    truncated = (read_json(features / "manifest.json") or {}).get("metrics", {}).get("truncated")
    return Fed(lambda piece: classifier.class_logits(head(known[piece])), ones, PADDED, ones, truncated)


def _keeper(
    stopping: dict[str, Any] | None, given: dict[str, Path], rows: Rows, feed: Callable[[Rows, str], Fed]
) -> Keeper | None:
    """What evaluates the validation rows and keeps the best weights; None without early stopping."""
    if stopping is None:
        return None
    if "validation_rows" not in given:
        raise UserError("early stopping needs validation rows (input validation_rows); without them use stopping=none")
    held = read_rows(given["validation_rows"])
    if (held.outputs, len(held.classes)) != (rows.outputs, len(rows.classes)):
        raise UserError(
            f"{held.path} has the classes {held.classes}, and {rows.path} {rows.classes}: they must be the same"
        )
    held, p, _ = probabilities(held, given.get("validation_labels"))
    fed = feed(held, "validation_features")
    return keeper(stopping, fed.forward, fed.lengths, p, fed.layout)


def _card(params: dict[str, Any], metrics: dict[str, Any], rows: Rows) -> str:
    """The model card's text."""
    model, head = params.get("model") or {}, params.get("head")
    asked = (
        f"* every text must be followed by {head.get('suffix')!r}; the head started from the tokens {head['tokens']} and says "
        "which of them comes next\n"
        if head
        else ""
    )
    base = f"`{model['id']}` at revision `{model['revision']}`" if "id" in model else "a local model"
    what = f"A text classifier ({', '.join(rows.classes)})"
    if rows.second is not None:
        what = (
            "A reward model (one score r for a text; P(the second of two is preferred) = sigmoid(r(second) - r(first)))"
        )
    labels = f"{params['labels']} (T = {params['sharpening']})" if params.get("sharpening") else params["labels"]
    kept = f"* the weights after step {metrics['best_step']} of {metrics['steps']}" if "best_step" in metrics else ""
    if kept:
        kept += f", the best on validation rows by {params['stopping']['metric']} against {metrics['stopping_on']}\n"
    return (
        f"{what}, finetuned by `w2s` from {base}.\n\n"
        f"* mode {params['mode']}, loss {params['loss']['name']}, {labels} labels, {metrics['rows']:,} rows, "
        f"{params['epochs']} epochs of batch {params['batch_size']}\n"
        f"* {params['optimizer']}, learning rate {params['lr']}, schedule {params['schedule']}, "
        f"precision {params['precision']}, seed {params['seed']}\n"
        f"* texts are cut to {params['max_length']} tokens on the {params['truncation']}\n{asked}{kept}\n"
        "```python\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "model = AutoModelForSequenceClassification.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "```\n"
    )
