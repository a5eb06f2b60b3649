"""generative: the further training of a pretrained language model on the texts of a pool, without labels, before the transfer.

Burns et al. 2023, section 5.2.1 ("generative finetuning", for reward models): the task becomes more salient to the student without
any label. The ceiling starts from the same model, for a fair comparison.

* All texts of the pool are used, both texts of a pair. Labels are not read.
* A text is one row with the tokenizer's special tokens. The end token follows if the limit allows it, so the model also learns where
  texts stop.
* The result is a causal language model in the hub's format, with the tokenizer of its base. `finetune` can take it as its `model`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import FP32_BYTES, Amounts, Model, Pool, Role, Spec, Traits, Work
from w2s_cli.stages._cautions import unread_texts
from w2s_cli.stages._optimization import OPTIMIZATION
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.shapes import fits

if TYPE_CHECKING:
    from w2s_cli.data.artifacts.rows import Rows
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.training.tokens import TokenRows

VERSION = 2
TRAITS = Traits(gives="model", trains=True)
_FIRST = "first_loss.json"  # in ctx.work: a resumed run need not read the first batch again


def plan(job: "Planning", *, role: Role = "student", model: Model, rows: Pool) -> Spec:
    """A pretrained language model trained on a pool's texts, without labels."""
    fields, data, train = job.config["generative"], job.config["data"], job.config["train"]
    # all weights are trained here, and the rates of adapters and of probes are far too large for that
    settings = model.settings(role, None if train["mode"] == "full" else {"lr": None})
    job.need_causal(settings, role, "trains a language model on texts", "use a method without this stage")
    params = {
        "model": settings["base"],
        "epochs": fields["epochs"],
        "lr": fields["lr"] if fields["lr"] is not None else settings["lr"],
        "batch_size": fields["batch_size"],
        **{field: fields[field] for field in OPTIMIZATION},
        "max_length": settings["max_length"],
        "truncation": data["truncation"],
        "precision": settings["precision"],
        "seed": job.training_seed(settings, role),
    }
    return Spec(
        params,
        {"rows": rows, "model": settings["trunk"]},
        slug=f"{settings['name']}-{data['name']}-{rows.name}-s{params['seed']}",
        execution=job.opens(settings),
        about={**job.about(settings, rows, role), "seed": params["seed"]},
        words=[f"lr {params['lr']:g}"],
        model={**settings, "mode": "generative", "role": role},
    )


def flops_per_token(params: Mapping[str, Any]) -> int:
    """FLOPs per token and parameter of a training (Kaplan et al. 2020, section 2.1)."""
    return 6


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """The training."""
    tokens = amounts.tokens("rows") * params["epochs"]
    return Work(flops_per_token(params) * amounts.parameters * tokens, tokens, FP32_BYTES * amounts.parameters)


cautions = unread_texts


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Train and write `ctx.result/model`; losses are in nats per token.

    `params`: model, batch_size (texts), max_length, truncation, precision, seed, and the fields of `training.loop.Recipe`.
    `inputs`: rows; model (instead of params.model).

    Raises:
        UserError: the model is no causal language model, or no text has at least two tokens.
    """
    import numpy as np

    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.training.attention import packed
    from w2s_cli.training.batching import batches_of_rows, epoch_order
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.loop import Recipe, train
    from w2s_cli.training.memory import Budget
    from w2s_cli.training.models.language_model import open_language_model
    from w2s_cli.training.models.opening import base_folder, quiet, weights_format
    from w2s_cli.training.models.saving import save_model
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.objectives import next_token
    from w2s_cli.training.tokens import check_ids, context_limit, open_plain_tokenizer

    fault("generative.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    texts = _texts(read_rows(cast(Path, inputs["rows"]), labels=False))
    folder = base_folder(params.get("model"), cast(Path | None, inputs.get("model")), ctx)
    ctx.measure(weights=weights_format(folder))
    remote = bool(ctx.execution.get("trust_remote_code"))
    model = open_language_model(folder, device, ctx.execution, params["max_length"])
    tokenizer = open_plain_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    limit = context_limit(usable_positions(model), tokenizer, params["max_length"])
    tokens = _documents(tokenizer, texts, limit)
    check_ids(tokens.ids, model.config, folder)
    rows = [ids for ids in tokens.ids if len(ids) > 1]  # a single token has no next token
    if not rows:
        raise UserError(f"no text of {inputs['rows']} has two tokens, so there is no next token to learn")
    next_token.check_output_layer(model, rows[0])
    if ctx.execution.get("gradient_checkpointing"):
        model.gradient_checkpointing_enable({"use_reentrant": False})
    lengths = np.array([len(ids) for ids in rows])
    ctx.log(f"{len(rows)} texts, {int(lengths.sum())} tokens per epoch, {tokens.truncated} texts cut")

    def batches(epoch: int) -> list[list[int]]:
        return batches_of_rows(epoch_order(len(rows), params["seed"], epoch), params["batch_size"])

    first = read_json(ctx.work / _FIRST)
    if not fits(first, float):
        budget = Budget(ctx, "eval_tokens")
        chosen = [rows[row] for row in batches(0)[0]]
        first = next_token.mean_loss(model, chosen, params["precision"], budget)
        write_json(ctx.work / _FIRST, first)
    objective = next_token.objective(model, rows, params["precision"])
    packed.tell(objective.layout, packed.why_padded(model, params["precision"]), ctx)
    sums = train(model, objective, batches, Recipe.of(params), ctx, "generative")
    metrics = {
        "first_loss": first,  # of the first batch, before training
        "final_loss": sums["loss"],  # mean over the updates of the last epoch
        "steps": int(sums["steps"]),
        "tokens": round(float(params["epochs"]) * int(lengths.sum())),
        "rows": len(texts),
        "truncated": tokens.summary(limit),
        "empty": tokens.empty,
        "padding": round(sums["padded"] / sums["tokens"] - 1, 4),
    }
    if ctx.execution.get("gradient_checkpointing"):
        model.gradient_checkpointing_disable()
    save_model(model, tokenizer, ctx.result / "model", _card(params, metrics))
    return metrics


def _texts(rows: "Rows") -> list[str]:
    """All texts, row by row; both texts of a pair."""
    if rows.second is None:
        return rows.texts
    return [text for pair in zip(rows.texts, rows.second, strict=True) for text in pair]


def _documents(tokenizer: Any, texts: list[str], limit: int) -> "TokenRows":
    """Token rows of the texts; an end token is added unless the text was cut or ends with one."""
    import numpy as np

    from w2s_cli.training.tokens import encode, joined

    encoded, end = encode(tokenizer, texts, limit), tokenizer.eos_token_id
    rows = [
        ids if end is None or len(ids) >= limit or ids[-1] == end else np.append(ids, np.int32(end))
        for ids in encoded.ids
    ]
    return joined(rows, encoded.truncated, empty=encoded.empty)


def _card(params: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The model card's text."""
    from w2s_cli.training.models.card import base_of, recipe_of

    return (
        f"A causal language model: {base_of(params)}, trained further by `w2s` on the texts of a task, without its labels.\n\n"
        f"* {metrics['rows']:,} texts of at most {metrics['truncated']['limit']} tokens, {params['epochs']} epochs of batch "
        f"{params['batch_size']}, {metrics['steps']:,} updates\n"
        f"{recipe_of(params)}"
        f"* loss {metrics['first_loss']:.3f} nats per token before, {metrics['final_loss']:.3f} in the last epoch\n"
    )
