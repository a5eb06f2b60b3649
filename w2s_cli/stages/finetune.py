"""finetune: the training of a classifier (weak supervisor, student or ceiling): all weights, adapters, or a linear probe.

* Each of the three modes writes a plain `model/` folder for AutoModelForSequenceClassification.
* Rows that are pairs of texts train a reward model with one output; all other code is the same (`training.targets`).
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.causal import need_classifier
from w2s_cli.pipeline.contract import (
    FP32_BYTES,
    TRUTH,
    Amounts,
    Edge,
    Labels,
    Model,
    Pool,
    Role,
    RuleField,
    Spec,
    Traits,
    Work,
)
from w2s_cli.stages._cautions import unread_texts
from w2s_cli.stages._optimization import adapters, mode_words, optimization
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    import torch

    from w2s_cli.data.artifacts.rows import Rows
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.training.saved_check import Sample
    from w2s_cli.training.tokens import TokenRows

VERSION = 2
NEUTRAL = {"sharpening": None, "head": None, "stopping": None, "micro_tokens": None}
TRAITS = Traits(gives="model", trains=True, learns=True, shared=True)
FLOPS_PER_TOKEN = {"full": 6, "lora": 4, "probe": 0}  # times parameters; a probe's cost is that of its features stage


def plan(
    job: "Planning",
    *,
    role: Role,
    model: Model,
    rows: Pool,
    labels: Labels = TRUTH,
    loss: RuleField | None = None,
    member: int = 0,
    weights: Edge | None = None,
    train: Mapping[str, Any] | None = None,
    validation_rows: Pool | None = None,
    validation_labels: Labels | None = None,
) -> Spec:
    """A classifier, or a reward model.

    Args:
        loss: {name, args, label} of a file in losses/; None: cross-entropy.
        member: number of the member in its ensemble, which determines its seed.
        weights: a stage with weights of the rows.
        train: values of this stage that replace fields of train.*.
        validation_rows, validation_labels: for early stopping; without labels: ground truth.
    """
    fields = job.config["train"].over(train or {})
    settings = model.settings(role, fields)
    head = _head(job, role, settings, fields)
    loss = loss or {"name": "xent", "args": {}}
    loss_name = loss.get("label") or loss["name"]
    lora = adapters(job, fields)
    label_form = fields["labels"] if labels is not TRUTH else "hard"  # ground truth is one-hot in every form: one key
    if head and head.get("next_token"):
        _check_next_token(job, head, label_form, loss["name"], weights)
    params = {
        "model": settings["base"],
        "loss": job.rule("losses", loss),
        "mode": fields["mode"],
        "lora": lora,
        "micro_tokens": job.config["launcher"]["micro_tokens"] if lora and lora["dropout"] else None,  # fix its draws
        "labels": label_form,
        "sharpening": fields["sharpening"] if label_form == "sharpened" else None,
        "head": head,
        "epochs": settings["epochs"] if settings["epochs"] is not None else fields["epochs"],
        "lr": settings["lr"],
        "batch_size": settings["batch_size"],
        **optimization(job, fields),
        "max_length": settings["max_length"],
        "truncation": job.config["data"]["truncation"],
        "precision": settings["precision"],
        "seed": job.training_seed(settings, role, member),
        "stopping": _stopping(job) if validation_rows else None,
    }
    inputs: dict[str, Any] = {"rows": rows, "labels": labels, "weights": weights, "model": settings["trunk"]}
    inputs |= {"validation_rows": validation_rows, "validation_labels": validation_labels}
    if fields["mode"] == "probe":
        inputs["features"] = job.features(settings, rows)
        inputs["validation_features"] = job.features(settings, validation_rows) if validation_rows else None
    lr_note = " (a guess)" if settings["lr_source"] == "guess" and not settings["lr_given"] else ""
    words = [f"lr {params['lr']:g}{lr_note}", f"{loss_name} on {labels.name}"]
    return Spec(
        params,
        inputs,
        slug=f"{role}-{settings['name']}-{job.config['data']['name']}-{loss_name}-s{params['seed']}",
        execution=job.opens(settings),
        about={**job.about(settings, rows, role), "seed": params["seed"], "loss": loss_name, "labels": labels.name},
        words=words + mode_words(fields["mode"], lora),
        model={**settings, "mode": fields["mode"], "role": role},
    )


def _head(job: "Planning", role: str, settings: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The head of label tokens; None: a new linear head. Refuses a head that does not fit the model or the data."""
    need_classifier(job, role, settings)
    tokens = list(fields["head"]["tokens"])
    if not tokens:
        if fields["mode"] == "probe":
            job.need_causal(settings, role, "probes the last token's state", "train all weights", probed=True)
        return None
    job.need_causal(settings, role, "starts from the label tokens of a language model", "use train=finetune")
    job.check_label_tokens(tokens, "use train=finetune")
    if fields["mode"] == "probe":
        raise UserError(
            f'stage "{job.stage}": a probe has a linear head on stored features, so it cannot start from label tokens; '
            "use train.mode=full or lora, or no train.head.tokens."
        )
    options = {name: True for name in ("frozen", "next_token") if fields["head"][name]}  # off: keys as before
    return {"tokens": tokens, "suffix": fields["head"]["suffix"], **options}


def _check_next_token(
    job: "Planning", head: Mapping[str, Any], label_form: str, loss_name: str, weights: Edge | None
) -> None:
    """Refuse settings without a meaning for the next-token loss on a label."""
    for wrong, why in (
        (not head.get("frozen"), "learns with the output layer as it is: set train.head.frozen=true."),
        (
            label_form != "hard",
            f"has one label token after a text, and the labels are {label_form}: set train.labels=hard.",
        ),
        (loss_name != "xent", f"is a loss itself, and this stage has loss={loss_name}: use loss=xent."),
        (weights is not None, "has no weights of rows: use a method without them."),
    ):
        if wrong:
            raise UserError(f'stage "{job.stage}": train.head.next_token=true {why}')


def _stopping(job: "Planning") -> dict[str, Any]:
    return {field: job.config["stopping"][field] for field in ("metric", "every", "patience")}


def flops_per_token(params: Mapping[str, Any]) -> int:
    """FLOPs per token and parameter of a training: 6 for all weights (Kaplan et al. 2020, section 2.1), 4 for adapters."""
    return FLOPS_PER_TOKEN[params["mode"]]


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """The training, and the forward passes over the validation rows."""
    tokens = amounts.tokens("rows") * params["epochs"]
    flops = flops_per_token(params) * amounts.parameters * tokens
    if params.get("stopping") and params["mode"] != "probe":
        steps = math.ceil(amounts.rows("rows") * params["epochs"] / params["batch_size"])
        evaluations = steps // params["stopping"]["every"]
        flops += 2 * amounts.parameters * evaluations * amounts.tokens("validation_rows")
    return Work(flops, tokens, FP32_BYTES * amounts.parameters if params["mode"] == "full" else 0.0)


cautions = unread_texts


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Train and write `ctx.result/model`.

    `params`: model, loss {name, args}, mode "full" | "lora" | "probe", lora (see `models.lora.add`), labels "soft" | "hard" |
    "sharpened", sharpening (temperature), batch_size, max_length, truncation, precision, seed, head (see `models.token_head`; None: a
    linear head), stopping {metric, every, patience} (None: all steps, the last weights), and the fields of `training.loop.Recipe`.
    `inputs`: rows; labels (absent: ground truth); weights (factors of the rows' cross-entropy); features (mode probe); model
    (instead of params.model); for stopping validation_rows, validation_labels (absent: ground truth) and validation_features (probe).

    Raises:
        UserError: among others, the saved model is not the trained one (`training/saved_check.py`).
    """
    from w2s_cli.training import saved_check
    from w2s_cli.training.device import pick_device

    device = pick_device(ctx.execution, params["precision"])
    metrics, expected = _train(params, inputs, ctx, device)  # the trained model is freed here
    model = ctx.result / "model"
    difference = saved_check.check(model, expected, params["precision"], params["truncation"], ctx.execution)
    ctx.measure(saved_difference=difference)
    return metrics


def _train(
    params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context, device: "torch.device"
) -> tuple[dict[str, Any], "Sample"]:
    """The metrics, and the probabilities of some rows; the model is in `ctx.result/model`."""
    import torch
    from torch import nn

    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.losses import load_loss
    from w2s_cli.training import inputs as training_inputs
    from w2s_cli.training import saved_check, sharding
    from w2s_cli.training.batching import batches_of_rows, epoch_order
    from w2s_cli.training.loop import Recipe, train
    from w2s_cli.training.memory import Budget
    from w2s_cli.training.models import adapters as kept
    from w2s_cli.training.models import bf16, classifier, lora, nf4, token_head
    from w2s_cli.training.models.card import card
    from w2s_cli.training.models.checkpointed import checkpoint_layers
    from w2s_cli.training.models.compiled import compile_layers, uncompiled
    from w2s_cli.training.models.folder import kept_adapters
    from w2s_cli.training.models.forward_pass import tell
    from w2s_cli.training.models.opening import base_folder, quiet, weights_format
    from w2s_cli.training.models.saving import save_model
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.objectives import classification, label_tokens
    from w2s_cli.training.prompting import encode_for
    from w2s_cli.training.targets import training_targets
    from w2s_cli.training.tokens import context_limit, open_tokenizer

    fault("finetune.start")
    quiet()
    rows = read_rows(cast(Path, inputs["rows"]))
    folders = cast(dict[str, Path], inputs)
    if "weights" in folders and params["loss"]["name"] != "xent":
        raise UserError(
            f"row weights need loss=xent, which is linear in the labels; the loss is {params['loss']['name']}"
        )
    training_set = training_targets(
        rows, folders.get("labels"), params["labels"], params.get("sharpening"), folders.get("weights")
    )
    rows = training_set.rows
    folder = base_folder(params.get("model"), folders.get("model"), ctx)
    ctx.measure(weights=weights_format(folder))
    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    head = params.get("head")
    token_head.check(head, params["mode"], pairs=rows.second is not None)
    label_head = token_head.read(folder, tokenizer, head, rows.outputs, ctx.execution) if head else None
    opened = (device, ctx.execution, params["max_length"], label_head)
    in_parts = sharding.wanted(params["mode"], ctx.execution, ctx.ranks)
    on_host, types = in_parts or nf4.wanted(params), bf16.for_training(params, in_parts=in_parts)
    model = classifier.open_base(folder, tokenizer, rows.outputs, params["seed"], *opened, on_host=on_host, kept=types)
    next_token = bool(head and head.get("next_token"))
    # a label token after the text needs a place; predictions cut texts at the same token
    limit = context_limit(usable_positions(model), tokenizer, params["max_length"]) - next_token
    trained: nn.Module = model
    adapted = None
    if params["mode"] == "probe":
        trained = training_inputs.probe_head(model, device)
    elif params["mode"] == "lora":
        adapted = lora.add(model, params["lora"], params["seed"], None if in_parts else device)
    elif params["mode"] != "full":
        raise UserError(f'train.mode={params["mode"]} is unknown; use "full", "lora" or "probe"')
    if head and head.get("frozen"):
        model.score.weight.requires_grad_(False)
    if ctx.execution.get("gradient_checkpointing") and params["mode"] != "probe":
        checkpoint_layers(model)
    if ctx.execution.get("compile") and params["mode"] != "probe":
        compile_layers(model, params["precision"])
    shared = sharding.Sharding(trained, ctx.ranks, device if in_parts else None)

    def token_rows(rows: "Rows") -> "TokenRows":
        return encode_for(model.config, tokenizer, rows, limit, folder, ctx)

    def feed(rows: "Rows", features: str) -> training_inputs.Inputs:
        if trained is model:
            return training_inputs.from_tokens(model, token_rows(rows), params["precision"], limit)
        if features not in folders:
            raise UserError(f'train=probe needs features of {rows.path}: the stage has no input "{features}"')
        return training_inputs.from_features(trained, folders[features], rows, device)

    fed = feed(rows, "features")
    if trained is model:
        tell(model, fed.layout, params["precision"], ctx)
    early_stopping = training_inputs.stopping(params.get("stopping"), folders, rows, feed)
    rows_cut = fed.truncated["rows"] if fed.truncated else 0
    ctx.log(f"{len(rows.ids)} rows, {int(fed.tokens.sum())} tokens, {rows_cut} rows cut")

    def batches(epoch: int) -> list[list[int]]:
        return batches_of_rows(epoch_order(len(rows.ids), params["seed"], epoch), params["batch_size"])

    loss = load_loss(params["loss"]["name"], ctx.execution.get("folders", ()), params["loss"].get("code"))
    targets = torch.from_numpy(training_set.p).to(device)
    args = loss.prepared(targets, params["loss"]["args"])
    weights = None if training_set.weights is None else torch.from_numpy(training_set.weights).float().to(device)
    drops = adapted is not None and params["lora"]["dropout"] > 0
    draw = functools.partial(lora.seed_dropout, params["seed"]) if drops else None
    if next_token and label_head is not None:
        ends, precision = (tokenizer.eos_token_id, tokenizer.pad_token_id), params["precision"]
        labels = training_set.p.argmax(1)
        objective = label_tokens.objective(
            model, token_rows(rows), labels, label_head, *ends, precision, fed.layout, draw=draw
        )
    else:
        objective = classification.objective(
            fed.forward,
            fed.lengths,
            targets,
            loss,
            args,
            weights=weights,
            tokens=fed.tokens,
            longest=fed.longest,
            layout=fed.layout,
            draw=draw,
        )
    sums = train(trained, objective, batches, Recipe.of(params), ctx, "finetune", early_stopping, shared)
    metrics: dict[str, Any] = {
        "final_loss": sums["loss"],  # mean over the updates of the last epoch
        "train_accuracy_vs_labels": sums["right"] / sums["rows"],  # before each update of the last epoch
        "steps": int(sums["steps"]),
        "rows": len(rows.ids),
        "truncated": fed.truncated,
        "empty": fed.empty,
        "tokens": int(fed.tokens.sum()),
        "padding": round(sums["padded"] / sums["tokens"] - 1, 4),
    }
    if training_set.uncovered is not None:
        metrics["uncovered"] = training_set.uncovered
    if early_stopping is not None:
        metrics |= {
            "stopping_on": "weak labels" if "validation_labels" in folders else "ground truth",
            **early_stopping.figures(),
        }
    if trained is not model:
        with torch.no_grad():
            model.score.weight.copy_(cast(nn.Linear, trained).weight)
    tokenizer.model_max_length = limit
    target, text = ctx.result / "model", card(params, metrics, rows)
    if adapted is not None and "model" not in folders:
        kept.save(adapted, params["lora"], params["model"], target, tokenizer, text)
    # with kept adapters on nf4, whole weights would take the memory that nf4 saves
    if adapted is not None and not (nf4.wanted(params) and kept_adapters(target)):
        model = lora.merge(adapted)
    model.eval()
    with uncompiled(model):
        expected = saved_check.sample(fed, rows, Budget(ctx, "eval_tokens"), model.device)
    if not kept_adapters(target):
        save_model(model, tokenizer, target, text)
    return metrics, expected
