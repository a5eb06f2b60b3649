"""Label a pool with a finished classifier: probabilities and logits, keyed by row id.

Scoring is the same stage on the test rows. A probe reads the pool's features instead of running the trunk again. Pairs are labelled by
a reward model: its logits for a pair are the two rewards.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from w2s_cli.context import Context
from w2s_cli.data.artifacts.labels import write_labels
from w2s_cli.data.artifacts.rows import read_rows
from w2s_cli.errors import UserError
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json
from w2s_cli.training.device import pick_device
from w2s_cli.training.models import probe
from w2s_cli.training.models.building import quiet
from w2s_cli.training.models.classifier import logits, open_finished, predict
from w2s_cli.training.models.compiled import compile_layers
from w2s_cli.training.prompting import encode_for
from w2s_cli.training.shards import in_shards
from w2s_cli.training.targets import check_outputs
from w2s_cli.training.tokens import context_limit, open_tokenizer


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id, p [classes], logits [classes]) in the pool's order; no text in it.

    `params`: max_length, truncation, precision, shard_rows; `inputs`: model, rows, and features for a probe.
    """
    fault("label.start")
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    folder = cast(Path, inputs["model"]) / "model"
    if "features" in inputs:
        features = cast(Path, inputs["features"])
        found = probe.logits(folder, probe.row_features(features, rows), rows)
        truncated = (read_json(features / "manifest.json") or {}).get("metrics", {}).get("truncated")
        fault("label.step")
        ctx.progress(len(rows.ids), len(rows.ids), examples=len(rows.ids))
    else:
        quiet()
        remote = bool(ctx.execution.get("trust_remote_code"))
        tokenizer = open_tokenizer(folder, params["truncation"], trust_remote_code=remote)
        model = open_finished(folder, device, ctx.execution, params["max_length"])
        if ctx.execution.get("compile"):
            compile_layers(model, params["precision"])
        check_outputs(model.config.num_labels, rows, folder)
        limit = context_limit(model.config, tokenizer, params["max_length"])
        tokens = encode_for(model.config, tokenizer, rows, limit, folder, ctx)
        budget = int(ctx.execution.get("eval_tokens", 32768))

        def compute(start: int, end: int) -> np.ndarray:
            part = predict(model, tokens.part(start, end), params["precision"], budget, logits)
            return part if rows.second is None else part.squeeze(-1)  # [rows, 2, 1]: one reward for each text

        found = in_shards(len(rows.ids), int(params["shard_rows"]), ctx, "label", compute, tokens.real)
        truncated = tokens.summary()
    if found.shape[1] != len(rows.classes):
        raise UserError(
            f"{folder} tells {found.shape[1]} classes apart, but {rows.path} has {len(rows.classes)}: {rows.classes}"
        )
    if not np.isfinite(found).all():
        raise UserError(
            f"{folder} gives logits that are not numbers for {rows.path}: train it again with a lower learning rate"
        )
    p = torch.from_numpy(found).double().softmax(-1).float().numpy()  # [rows, classes]
    write_labels(ctx.result, rows.ids, p, found)
    return {
        "rows": len(rows.ids),
        "accuracy": float((found.argmax(1) == rows.labels).mean()),
        "mean_p": [float(value) for value in p.mean(0, dtype=np.float64)],
        "truncated": truncated,
    }
