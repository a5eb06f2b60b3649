"""label: the labels of a pool by a finished classifier: probabilities and logits, keyed by row id.

* The predictions on the test rows are the same kind of stage, on another pool.
* A probe reads the pool's features, so its trunk does not run again.
* A reward model labels pairs: its logits for a pair are the two rewards.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Amounts, Edge, Pool, Spec, Traits, Work
from w2s_cli.stages._cautions import empty_texts
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 2
TRAITS = Traits(gives="labels", shared=True)
SHARD_ROWS = 4096  # a killed stage repeats at most this many rows


def plan(job: "Planning", *, model: Edge, rows: Pool) -> Spec:
    """The labels of a pool by a finetuned model."""
    settings = model.model
    if settings is None or settings["mode"] not in ("full", "lora", "probe"):
        raise UserError(f'stage "{job.stage}": "{model.name}" is no finetune stage, so it gives no labels; name one.')
    data, role, seed = job.config["data"], settings["role"], job.config["seed"]
    params = {
        "max_length": settings["max_length"],
        "truncation": data["truncation"],
        "precision": settings["precision"],
        "shard_rows": SHARD_ROWS,
    }
    features = job.features(settings, rows, model.name) if settings["mode"] == "probe" else None
    return Spec(
        params,
        {"model": model, "rows": rows, "features": features},
        slug=f"{role}-{settings['name']}-{data['name']}-{rows.name}-s{seed}",
        execution={"trust_remote_code": settings["trust_remote_code"], **job.resolver.base(settings.get("pretrained"))},
        about={"role": role, "model": settings["name"], "rows": rows.name, "seed": seed},
    )


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """A forward pass; none for a probe, whose features stage had it."""
    return Work() if amounts.has("features") else Work(2 * amounts.parameters * amounts.tokens("rows"))


cautions = empty_texts


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id, p [classes], logits [classes]; no text) in the pool's order.

    `params`: max_length, truncation, precision, shard_rows; `inputs`: model, rows, and features for a probe.
    """
    import numpy as np

    from w2s_cli.data.artifacts.features import unread_counts
    from w2s_cli.data.artifacts.labels import write_labels
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.models import bf16, probe
    from w2s_cli.training.models.classifier import open_finished
    from w2s_cli.training.models.compiled import compile_layers
    from w2s_cli.training.models.forward_pass import logits, reader, softmax
    from w2s_cli.training.models.opening import made_folder, quiet
    from w2s_cli.training.models.reward import check_outputs
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.prompting import encode_for
    from w2s_cli.training.shards import in_shards
    from w2s_cli.training.tokens import context_limit, open_tokenizer

    fault("label.start")
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    folder = made_folder(cast(Path, inputs["model"]), ctx)
    if "features" in inputs:
        ctx.rest_alone()  # a product of small matrices
        features = cast(Path, inputs["features"])
        class_logits = probe.logits(folder, probe.row_features(features, rows), rows)
        truncated, empty = unread_counts(features)
        fault("label.step")
        ctx.progress(len(rows.ids), len(rows.ids), examples=len(rows.ids))
    else:
        quiet()
        remote = bool(ctx.execution.get("trust_remote_code"))
        tokenizer = open_tokenizer(folder, params["truncation"], trust_remote_code=remote)
        kept = bf16.for_reading(params["precision"])
        model = open_finished(folder, device, ctx.execution, params["max_length"], kept)
        if ctx.execution.get("compile"):
            compile_layers(model, params["precision"])
        check_outputs(model.config.num_labels, rows, folder)
        limit = context_limit(usable_positions(model), tokenizer, params["max_length"])
        tokens = encode_for(model.config, tokenizer, rows, limit, folder, ctx)
        outputs = reader(model, tokens, params["precision"], ctx, logits)

        def compute(start: int, end: int) -> np.ndarray:
            part = outputs(start, end)
            return part if rows.second is None else part.squeeze(-1)  # [rows, 2, 1]: one reward for each text

        class_logits = in_shards(len(rows.ids), int(params["shard_rows"]), ctx, "label", compute, tokens.real)
        truncated, empty = tokens.summary(limit), tokens.empty
    if class_logits.shape[1] != len(rows.classes):
        raise UserError(
            f"{folder} has {class_logits.shape[1]} classes, but {rows.path} has {len(rows.classes)}: {rows.classes}"
        )
    if not np.isfinite(class_logits).all():
        raise UserError(
            f"{folder} gives logits that are not finite for {rows.path}: train it again with a lower learning rate"
        )
    p = softmax(class_logits)  # [rows, classes]
    write_labels(ctx.result, rows.ids, p, class_logits)
    return {
        "rows": len(rows.ids),
        "accuracy": float((class_logits.argmax(1) == rows.labels).mean()),
        "mean_p": [float(value) for value in p.mean(0, dtype=np.float64)],
        "truncated": truncated,
        "empty": empty,
    }
