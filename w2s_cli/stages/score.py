"""score: what a model thinks of given texts, without training it.

* A language model: the log-probability of every token of a completion and of its end token. Reference log-probabilities of preference
  training are such an artifact, computed once and shared by a sweep. A completion that says nothing has none.
* A classifier or reward model: one score for prompt and text, the probability of the last class, or the reward.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.causal import CLASSIFIERS
from w2s_cli.pipeline.contract import Amounts, Edge, Model, Pool, Role, Spec, Traits, Work
from w2s_cli.stages._cautions import cut_texts
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.training.texts import Written

VERSION = 1
NEUTRAL = {"by": "mean"}
TRAITS = Traits(gives="scores", shared=True)
SHARD_TEXTS = 1024


def plan(
    job: "Planning",
    *,
    role: Role = "student",
    model: Model,
    rows: Pool,
    texts: Edge | None = None,
    pairs: Edge | None = None,
    other: bool | None = None,
    by: Literal["mean", "sum"] = "mean",
) -> Spec:
    """The scores of texts or pairs under a model.

    Args:
        texts: completions or examples; pairs: pairs of them. One of the two.
        other: also of each pair the next row's chosen text after this pair's prompt; None: if objective=… needs it, as kto does.
        by: what of a text's log-probabilities is its score, for rules that compare scores.
    """
    job.need_problems("prompt")
    settings = model.settings(role)
    if (texts is None) == (pairs is None):
        raise UserError(
            f'stage "{job.stage}" scores texts or pairs: name one of the two, texts: STAGE or pairs: STAGE.'
        )
    scored = texts or pairs
    classifier = settings.get("mode") in CLASSIFIERS
    if classifier and (settings["mode"] == "probe" or texts is None):
        raise UserError(
            f'stage "{job.stage}": a classifier scores texts, not pairs, and a probe has no model of its own to score them.'
        )
    if not classifier:
        job.need_causal(settings, role, "scores texts by their probability", "use a classifier")
    if other is None:
        chosen = job.config["objective"]["name"]
        other = pairs is not None and chosen is not None and job.says("objectives", chosen, "NEEDS_KL")
    template = None if classifier else job.chat_template(settings, job.config["generation"]["chat"], "generation.chat")
    params = {
        "model": settings["base"],
        "classifier": classifier,
        "chat_template": template,
        "other": other,
        "by": by,
        "max_length": settings["max_length"],
        "truncation": job.config["data"]["truncation"],
        "precision": settings["precision"],
        "shard_texts": SHARD_TEXTS,
    }
    return Spec(
        params,
        {"rows": rows, "texts": texts, "pairs": pairs, "model": settings["trunk"]},
        slug=f"{role}-{settings['name']}-{job.config['data']['name']}-{rows.name}",
        execution=job.opens(settings),
        about=job.about(settings, rows, role),
        words=[f"{'texts' if texts else 'pairs'} of {scored.name if scored else ''}"],
    )


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """A forward pass over prompts and completions, which are taken to be as long; of pairs two."""
    return Work(2 * amounts.parameters * 2 * amounts.tokens("rows") * (2 if amounts.has("pairs") else 1))


cautions = cut_texts


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write scores.parquet (`data.artifacts.scores`).

    `params`: model, classifier, chat_template, other, by (only if it is not the mean), max_length, truncation, precision,
    shard_texts. `inputs`: rows; texts or pairs; model (instead of params.model).

    Raises:
        UserError: texts of other rows, or scores that are not finite.
    """
    from w2s_cli.training.models.opening import quiet

    fault("score.start")
    quiet()
    folders = cast(dict[str, Path], inputs)
    return _by_classifier(params, folders, ctx) if params["classifier"] else _by_language_model(params, folders, ctx)


def _by_language_model(params: dict[str, Any], folders: dict[str, Path], ctx: Context) -> dict[str, Any]:
    """The log-probabilities of texts."""
    import numpy as np

    from w2s_cli.data.artifacts.rows import read_problems
    from w2s_cli.data.artifacts.scores import write_log_p
    from w2s_cli.training.attention import packed
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.memory import Budget
    from w2s_cli.training.models.opening import base_folder, weights_format
    from w2s_cli.training.objectives import next_token
    from w2s_cli.training.objectives.completions import layout_of
    from w2s_cli.training.objectives.token_log_p import all_log_p, counted
    from w2s_cli.training.shards import in_shards
    from w2s_cli.training.texts import open_model
    from w2s_cli.training.texts_material import cut_sides, digest, sided, summary
    from w2s_cli.training.tokens import check_ids

    device = pick_device(ctx.execution, params["precision"])
    problems = read_problems(folders["rows"])
    folder = base_folder(params.get("model"), folders.get("model"), ctx)
    ctx.measure(weights=weights_format(folder))
    model, form, limit = open_model(params, folder, device, ctx)
    model.eval()
    ids, samples, sides, empty = sided(form, problems, folders, other=params["other"])
    cuts = cut_sides(sides, limit, params["truncation"])
    # row by row: the texts of a row have one prompt, which goes through the model once for those of a shard
    texts: list[Written] = [text for row in zip(*(one.texts for one in cuts.values()), strict=True) for text in row]
    check_ids([text.ids for text in texts], model.config, folder)
    next_token.check_output_layer(model, texts[0].ids)
    layout = layout_of(model, texts, params["precision"])
    packed.tell(layout, packed.why_padded(model, params["precision"]), ctx)
    budget = Budget(ctx, "eval_tokens")
    lengths = np.array([len(text.ids) for text in texts])
    room = max(len(text.completion) for text in texts)

    def compute(start: int, end: int) -> np.ndarray:
        table = np.full((end - start, room), np.nan, dtype=np.float32)
        for row, values in enumerate(all_log_p(model, texts[start:end], layout, params["precision"], budget)):
            table[row, : len(values)] = values
        return table

    table = in_shards(len(texts), int(params["shard_texts"]), ctx, "score", compute, lengths)
    log_p = [table[row, : counted(text)] for row, text in enumerate(texts)]
    if not all(np.isfinite(values).all() for values in log_p):
        raise UserError(
            f"{folder} gives log-probabilities that are not finite: set the model's precision=fp32, or train it less hard"
        )
    names = [name if "pairs" in folders else "" for name in sides]
    columns = {name: log_p[at :: len(names)] for at, name in enumerate(names)}
    digests = {name: digest(one.texts) for name, one in zip(names, cuts.values(), strict=True)}
    write_log_p(ctx.result, ids, columns, samples, by=params.get("by", "mean"), empty=empty, digests=digests)
    means = {name or "texts": float(np.concatenate(values).mean(dtype=np.float64)) for name, values in columns.items()}
    truncated = summary(list(cuts.values()), limit)
    return {"rows": len(ids), "mean_log_p": means, "truncated": truncated, "empty": len(empty)}


def _by_classifier(params: dict[str, Any], folders: dict[str, Path], ctx: Context) -> dict[str, Any]:
    """One score a text, by a finished classifier or reward model."""
    import numpy as np

    from w2s_cli.data.artifacts.completions import read_completions
    from w2s_cli.data.artifacts.rows import Rows, read_problems
    from w2s_cli.data.artifacts.scores import write_scores
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.models import bf16
    from w2s_cli.training.models.classifier import open_finished
    from w2s_cli.training.models.forward_pass import logits, reader, softmax
    from w2s_cli.training.models.opening import made_folder
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.prompting import encode_for
    from w2s_cli.training.shards import in_shards
    from w2s_cli.training.tokens import context_limit, open_tokenizer

    device = pick_device(ctx.execution, params["precision"])
    problems, completions = read_problems(folders["rows"]), read_completions(folders["texts"])
    problems.check_rows(completions.ids, completions.path)
    prompts = dict(zip(problems.ids, problems.prompts, strict=True))
    joined = [f"{prompts[name]} {text}" for name, text in zip(completions.ids, completions.texts, strict=True)]
    folder = made_folder(folders["model"], ctx)
    tokenizer = open_tokenizer(
        folder, params["truncation"], trust_remote_code=bool(ctx.execution.get("trust_remote_code"))
    )
    kept = bf16.for_reading(params["precision"])
    model = open_finished(folder, device, ctx.execution, params["max_length"], kept)
    limit = context_limit(usable_positions(model), tokenizer, params["max_length"])
    names = [f"{name} {sample}" for name, sample in completions.names]
    tokens = encode_for(
        model.config, tokenizer, Rows(completions.path, names, joined, np.empty(0, np.int64), []), limit, folder, ctx
    )
    outputs = reader(model, tokens, params["precision"], ctx, logits)
    values = in_shards(len(joined), int(params["shard_texts"]), ctx, "score", outputs, tokens.real)  # [texts, outputs]
    scores = (values[:, 0] if values.shape[1] == 1 else softmax(values)[:, -1]).astype(np.float64)
    if not np.isfinite(scores).all():
        raise UserError(f"{folder} gives scores that are not finite: train it again with a lower learning rate")
    write_scores(ctx.result, completions.ids, completions.samples.tolist(), scores)
    return {"rows": len(scores), "mean_score": float(scores.mean()), "truncated": tokens.summary(limit)}
