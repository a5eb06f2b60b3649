"""pretrain: the training of a small language model from fresh weights, on the texts of one corpus.

* `model/` holds all files that loading needs: config, weights (safetensors), fast tokenizer, card.
* A resumed run trains the same tokenizer again and draws the same initial weights from the seed. Only the trained state comes from
  the checkpoint.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError
from w2s_cli.pipeline.causal import need_causal_recipe
from w2s_cli.pipeline.contract import Spec, Traits
from w2s_cli.pipeline.reads import plain
from w2s_cli.stages._optimization import check_optimizer
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="model", trains=True, shared=True)


def plan(job: "Planning", *, recipe: Mapping[str, Any]) -> Spec:
    """A language model from scratch; `recipe` has the fields of a file of configs/pretrain."""
    need_causal_recipe(job.resolver, recipe)
    check_optimizer(job, recipe)
    name, corpus = recipe["name"], dict(recipe["corpus"])
    sha256, path = job.resolver.corpus(corpus.pop("path"))
    params = {field: value for field, value in plain(recipe).items() if field not in ("name", "corpus")}
    params["corpus"] = {**corpus, "sha256": sha256}
    return Spec(
        params,
        slug=str(name),
        execution={"corpus_path": path, "model_name": name},
        about={"model": name},
        words=[f"lr {params['lr']:g}"],
    )


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Train and write `ctx.result/model`; losses are in nats per token.

    `params`: architecture {model_type, …config fields}, tokenizer {vocab_size, add_prefix_space}, corpus {templates},
    sequence "entries" | "packed", max_length, batch_entries (rows) or batch_tokens, validation_share, precision, seed,
    save_dtype "fp32" | "bf16", and the fields of `training.loop.Recipe`. `ctx.execution["corpus_path"]` is the file or folder.
    """
    import numpy as np
    import torch

    from w2s_cli.training.attention import packed
    from w2s_cli.training.batching import batches_of_rows, batches_of_tokens, epoch_order
    from w2s_cli.training.corpus import hold_out, read_texts, token_rows, train_tokenizer
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.loop import Recipe, train
    from w2s_cli.training.memory import Budget
    from w2s_cli.training.models.language_model import fresh_language_model
    from w2s_cli.training.models.opening import quiet
    from w2s_cli.training.models.saving import save_model
    from w2s_cli.training.objectives import next_token
    from w2s_cli.training.sharding import Sharding, wanted

    fault("pretrain.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    max_length, seed = int(params["max_length"]), int(params["seed"])
    entries = read_texts(Path(ctx.execution["corpus_path"]), params["corpus"].get("templates") or [])
    train_texts, held_texts = hold_out(entries, float(params.get("validation_share", 0.0)))
    tokens = params["tokenizer"]
    tokenizer = train_tokenizer(
        train_texts, int(tokens["vocab_size"]), bool(tokens.get("add_prefix_space", True)), max_length
    )
    rows = token_rows(tokenizer, train_texts, params["sequence"], max_length, seed)
    in_parts = wanted("full", ctx.execution, ctx.ranks)
    model = fresh_language_model(params["architecture"], tokenizer, max_length, seed, device, on_host=in_parts)
    next_token.check_output_layer(model, rows[0])
    parameters = sum(p.numel() for p in model.parameters())
    lengths = np.array([len(row) for row in rows])
    ctx.log(f"{len(entries)} entries, {len(rows)} rows, {int(lengths.sum())} tokens per epoch, {parameters} parameters")

    def batches(epoch: int) -> list[list[int]]:
        order = epoch_order(len(rows), seed, epoch)
        if params.get("batch_tokens"):
            return batches_of_tokens(order, lengths, int(params["batch_tokens"]))
        return batches_of_rows(order, int(params["batch_entries"]))

    sharding = Sharding(model, ctx.ranks, device if in_parts else None)
    objective = next_token.objective(model, rows, params["precision"])
    packed.tell(objective.layout, packed.why_padded(model, params["precision"]), ctx)
    sums = train(model, objective, batches, Recipe.of(params), ctx, "pretrain", sharding=sharding)
    metrics: dict[str, Any] = {
        "final_loss": sums["loss"],  # mean over the updates of the last epoch
        "steps": int(sums["steps"]),
        "tokens": round(float(params["epochs"]) * int(lengths.sum())),
        "tokens_per_epoch": int(lengths.sum()),
        "rows": len(rows),
        "padding": round(sums["padded"] / sums["tokens"] - 1, 4),
        "parameters": parameters,
        "validation_loss": None,
        "perplexity": None,
    }
    if held_texts:
        model.eval()
        held_rows = token_rows(tokenizer, held_texts, "entries", max_length, seed)
        budget = Budget(ctx, "eval_tokens")
        loss = next_token.mean_loss(model, held_rows, params["precision"], budget)
        metrics |= {"validation_loss": loss, "perplexity": math.exp(loss)}
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if params["save_dtype"] not in dtypes:
        raise UserError(f'save_dtype={params["save_dtype"]} is unknown; use "fp32" or "bf16"')
    save_model(model.to(dtypes[params["save_dtype"]]), tokenizer, ctx.result / "model", _card(params, metrics))
    return metrics


def _card(params: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The model card's text."""
    architecture = ", ".join(f"{name} {value}" for name, value in sorted(params["architecture"].items()))
    return (
        f"A small language model ({metrics['parameters']:,} parameters: {architecture}),\n"
        f"pretrained from fresh weights by `w2s pretrain` for weak-to-strong experiments.\n\n"
        f"* {metrics['rows']:,} rows, {metrics['tokens_per_epoch']:,} tokens, {params['epochs']} epochs, "
        f"{metrics['steps']:,} updates, learning rate {params['lr']}, seed {params['seed']}\n"
        f"* text templates: {params['corpus'].get('templates') or 'one text per line'}\n"
        f"* loss {metrics['final_loss']:.3f} nats per token (mean of the last epoch)\n"
    )
