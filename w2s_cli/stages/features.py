"""features: the last-token features of a frozen causal model for one pool, computed once for all probes and losses.

Seeds share them where data.seed is set: otherwise each seed has rows of its own.
The model is a pretrained one, or the result of a finetune or tune stage. Only its trunk is used, no head.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.pipeline.contract import Amounts, Pool, Spec, Traits, Work
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 2
TRAITS = Traits(gives="features", implied=True, shared=True)
SHARD_ROWS = 1024


def plan(job: "Planning", *, settings: Mapping[str, Any], rows: Pool) -> Spec:
    """The features of a model on a pool; `settings` are those of the model in the role of the probe."""
    data = job.config["data"]
    params = {
        "model": settings["base"],
        **{field: settings[field] for field in ("max_length", "precision")},
        "truncation": data["truncation"],
    }
    return Spec(
        params,
        {"rows": rows, "model": settings["trunk"]},
        slug=f"{settings['name']}-{data['name']}-{rows.name}",
        execution=job.opens(settings),
        about=job.about(settings, rows),
    )


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """A forward pass over the rows."""
    return Work(2 * amounts.parameters * amounts.tokens("rows"))


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write features.safetensors ("features" [rows, width] fp32, of pairs [rows, 2, width]) and ids.json, in the pool's order.

    `params`: model, max_length, truncation, precision; `inputs`: rows; model (instead of params.model).
    """
    from w2s_cli.data.artifacts.features import write_features
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.models import bf16
    from w2s_cli.training.models.classifier import check_probed, open_base
    from w2s_cli.training.models.forward_pass import last_token_features, reader
    from w2s_cli.training.models.opening import base_folder, quiet
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.prompting import encode_for
    from w2s_cli.training.shards import in_shards
    from w2s_cli.training.tokens import context_limit, open_tokenizer

    fault("features.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    folder = base_folder(params.get("model"), cast(Path | None, inputs.get("model")), ctx)
    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    kept = bf16.for_reading(params["precision"])
    model = open_base(folder, tokenizer, rows.outputs, 0, device, ctx.execution, params["max_length"], kept=kept).eval()
    check_probed(model)
    limit = context_limit(usable_positions(model), tokenizer, params["max_length"])
    tokens = encode_for(model.config, tokenizer, rows, limit, folder, ctx)
    compute = reader(model, tokens, params["precision"], ctx, last_token_features)
    features = in_shards(len(rows.ids), SHARD_ROWS, ctx, "features", compute, tokens.real)
    write_features(ctx.result, rows.ids, features)
    return {
        "rows": len(rows.ids),
        "hidden": int(features.shape[-1]),
        "truncated": tokens.summary(limit),
        "empty": tokens.empty,
    }
