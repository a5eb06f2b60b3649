"""tune: the training of a language model on texts or pairs of texts: all weights, or adapters, by a rule of objectives/.

* What is learned is the completion with its end token; the prompt only with an objective of whole texts (`text`). Before the training the
  tokens are checked: they decode to the completion. A text that its writer did not finish (cut at max_new_tokens) is learned with an end
  token too, as if it ended there; `choose` with the rule `tidy` leaves such texts out.
* An objective of whole texts may also learn the pool's own texts, without a stage that wrote any: `method=generative_finetuning` (Burns et
  al. 2023, section 5.2.2), by which the task becomes more salient to the student without any label. Of pairs both texts are learned.
* The log-probabilities of a reference, and of the weak models of wspo, come from `score` stages: a sweep shares them, and no second
  model is in memory.
* The result is a causal language model in the hub's format, with the tokenizer of its base. Adapters on a pretrained model stay adapters
  (`training/models/adapters.py`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.objectives import NEEDS
from w2s_cli.pipeline.contract import FP32_BYTES, Amounts, Edge, Model, Pool, Role, RuleField, Spec, Traits, Work
from w2s_cli.stages._cautions import cut_texts, unread_texts
from w2s_cli.stages._optimization import adapters, mode_words, optimization
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="model", trains=True, shared=True)
# edge → the word of objectives that need it
NEEDED_BY = {"reference": "NEEDS_REFERENCE", "aligned": "NEEDS_WEAK", "unaligned": "NEEDS_WEAK"}
FLOPS_PER_TOKEN = {"full": 6, "lora": 4}  # times parameters


def plan(
    job: "Planning",
    *,
    role: Role = "student",
    model: Model,
    rows: Pool,
    texts: Edge | None = None,
    pairs: Edge | None = None,
    reference: Edge | None = None,
    aligned: Edge | None = None,
    unaligned: Edge | None = None,
    objective: RuleField | None = None,
    tune: Mapping[str, Any] | None = None,
    member: int = 0,
) -> Spec:
    """A language model that has learned texts or pairs.

    Args:
        rows: the pool with the prompts.
        texts: completions or examples; pairs: pairs of them. One of the two; neither: the pool's own texts.
        reference, aligned, unaligned: `score` stages of the same texts or pairs; those that the objective does not need do not run.
        objective: {name, args} of a file in objectives/, which objective= of the command line replaces; None: sft, which it does not.
        tune: values of this stage that replace fields of tune.*.
        member: number of the member in its ensemble, which determines its seed.
    """
    fields, data = job.config["preference" if pairs else "tune"].over(tune or {}), job.config["data"]
    settings = model.settings(role, fields)
    job.need_causal(settings, role, "trains a language model on texts", "use a method without this stage")
    rule = _objective(job, objective)
    given = {"reference": reference, "aligned": aligned, "unaligned": unaligned}
    scores = {
        field: edge for field, edge in given.items() if edge and job.says("objectives", rule["name"], NEEDED_BY[field])
    }
    learned = texts or pairs
    if learned is not None:
        job.need_problems("prompt")
    _check_needs(job, rule["name"], texts, pairs, given)
    label = rule.get("label") or rule["name"]
    lora = adapters(job, fields)
    params = {
        "model": settings["base"],
        "objective": job.rule("objectives", rule),
        "mode": fields["mode"],
        "lora": lora,
        "micro_tokens": job.config["launcher"]["micro_tokens"] if lora and lora["dropout"] else None,  # fix its draws
        "chat_template": learned and job.chat_template(settings, job.config["generation"]["chat"], "generation.chat"),
        "epochs": settings["epochs"] if settings["epochs"] is not None else fields["epochs"],
        "lr": settings["lr"] * (1.0 if fields["lr"] is not None else fields["lr_scale"]),
        "batch_size": settings["batch_size"],
        **optimization(job, fields),
        "max_length": settings["max_length"],
        "truncation": data["truncation"],
        "precision": settings["precision"],
        "seed": job.training_seed(settings, role, member),
    }
    inputs = {"rows": rows, "texts": texts, "pairs": pairs, "model": settings["trunk"]}
    return Spec(
        params,
        {**inputs, **scores},
        slug=f"{role}-{settings['name']}-{data['name']}-{label}-s{params['seed']}",
        execution=job.opens(settings),
        about={**job.about(settings, rows, role), "seed": params["seed"], "loss": label},
        words=[
            f"lr {params['lr']:g}",
            f"{label} on {learned.name if learned else rows.name}",
            *mode_words(fields["mode"], lora),
        ],
        model={**settings, "mode": "text", "role": role},
        unread=[edge for field, edge in given.items() if edge and field not in scores],
    )


def _objective(job: "Planning", own: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The objective of a stage, {name, args, …}; only a stage that names one lets the command line choose another."""
    if own is None:
        return {"name": "sft", "args": {}}
    chosen = job.config["objective"]
    if chosen["name"] is None and own["name"] is None:
        raise UserError(f'stage "{job.stage}" has no objective of its own: choose one, objective=dpo.')
    return {"args": {}, **own} if chosen["name"] is None else chosen


def _check_needs(
    job: "Planning", name: str, texts: Edge | None, pairs: Edge | None, scores: Mapping[str, Edge | None]
) -> None:
    """Refuse missing inputs of the objective, and stored log-probabilities of other texts than those that are learned."""
    where = f'stage "{job.stage}": the objective {name}'
    learned = texts or pairs
    needs = {word: job.says("objectives", name, word) for word in NEEDS}
    if texts is not None and pairs is not None:
        raise UserError(
            f'stage "{job.stage}" learns from texts or from pairs: name one of the two, texts: STAGE or pairs: STAGE.'
        )
    if learned is None and not needs["WHOLE"]:
        raise UserError(
            f"{where} learns completions, and the stage names none: texts: STAGE or pairs: STAGE. A pool's own texts are learned by an "
            "objective of whole texts (WHOLE), such as text."
        )
    for needed, given, what in (
        (needs["NEEDS_PAIRS"] or needs["NEEDS_KL"], pairs is not None, "pairs of texts (pairs: STAGE)"),
        (
            needs["NEEDS_REFERENCE"],
            scores["reference"] is not None,
            "a reference (reference: a stage of kind score)",
        ),
        (
            needs["NEEDS_WEAK"],
            scores["aligned"] is not None and scores["unaligned"] is not None,
            "weak models (aligned and unaligned: stages of kind score)",
        ),
    ):
        if needed and not given:
            raise UserError(f"{where} needs {what}.")
    for field, edge in scores.items():
        if edge is None:
            continue
        if needs["WHOLE"] or learned is None:
            raise UserError(
                f"{where} learns prompts too (WHOLE), and scores are of completions only: leave {field} out."
            )
        scored = job.stage_of(edge)
        if scored.of.traits.gives != "scores" or learned.key not in scored.upstream():
            raise UserError(
                f'{where}: {field} must be the scores of what is learned, "{learned.name}", and stage "{edge.name}" is not: name a stage '
                f"of kind score with {'texts' if texts else 'pairs'}: {learned.name}."
            )
        if needs["NEEDS_KL"] and not scored.identity["params"].get("other"):
            raise UserError(
                f'{where} needs the scores of other prompts\' texts too: set other: true in stage "{edge.name}".'
            )


def flops_per_token(params: Mapping[str, Any]) -> int:
    """FLOPs per token and parameter of a training: 6 for all weights (Kaplan et al. 2020, section 2.1), 4 for adapters."""
    return FLOPS_PER_TOKEN[params["mode"]]


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """The training; of pairs both texts. Completions are taken to be as long as their prompts."""
    texts = 4 if amounts.has("pairs") else 2 if amounts.has("texts") else 1
    tokens = texts * amounts.tokens("rows") * params["epochs"]
    return Work(flops_per_token(params) * amounts.parameters * tokens, tokens, FP32_BYTES * amounts.parameters)


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """Lines for cut prompts and for completions that lost their end; of a pool's own texts for cut and for empty ones."""
    cut = metrics.get("truncated") or {}
    if "completions" not in cut:
        return unread_texts(metrics, params, about)
    lines, lost = cut_texts(metrics, params, about), cut["completions"]
    if lost:
        lines.append(
            f"Caution: {lost:,} completions were longer than the context of {about['model']} ({about['role']}) and are learned without "
            "their end; raise its max_length."
        )
    return lines


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Train and write `ctx.result/model`.

    `params`: model, objective {name, args, code}, mode, lora (see `models.lora.add`), chat_template, batch_size, max_length, truncation,
    precision, seed, and the fields of `training.loop.Recipe`. `inputs`: rows; texts or pairs, or neither; reference, aligned, unaligned
    (scores); model (instead of params.model).

    Raises:
        UserError: among others, tokens that do not decode to the completion, or scores of other texts.
    """
    import functools

    from w2s_cli.data.artifacts.rows import read_problems, read_rows
    from w2s_cli.objectives import load_objective
    from w2s_cli.training import sharding
    from w2s_cli.training.attention import packed
    from w2s_cli.training.batching import batches_of_rows, epoch_order
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.loop import Recipe, train
    from w2s_cli.training.models import adapters as kept
    from w2s_cli.training.models import lora
    from w2s_cli.training.models.checkpointed import checkpoint_layers
    from w2s_cli.training.models.opening import base_folder, quiet, weights_format
    from w2s_cli.training.models.saving import save_model
    from w2s_cli.training.objectives import completions, next_token
    from w2s_cli.training.texts import open_model
    from w2s_cli.training.texts_material import material, own_texts
    from w2s_cli.training.tokens import check_ids

    fault("tune.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    folders = cast(dict[str, Path], inputs)
    folder = base_folder(params.get("model"), folders.get("model"), ctx)
    ctx.measure(weights=weights_format(folder))
    model, form, limit = open_model(params, folder, device, ctx)
    rule = load_objective(params["objective"], ctx.execution.get("folders", ()))
    if {"texts", "pairs"} & set(folders):
        problems = read_problems(folders["rows"])
        learned, facts = material(form, problems, folders, rule, limit, params["truncation"])
    else:
        learned, facts = own_texts(form, read_rows(folders["rows"], labels=False), limit)
    every = (learned.chosen, learned.rejected or (), learned.other or ())
    check_ids([text.ids for texts in every for text in texts], model.config, folder)
    next_token.check_output_layer(model, learned.chosen[0].ids)
    in_parts = sharding.wanted(params["mode"], ctx.execution, ctx.ranks)
    adapted = None
    if params["mode"] == "lora":
        adapted = lora.add(model, params["lora"], params["seed"], None if in_parts else device)
    if ctx.execution.get("gradient_checkpointing"):
        checkpoint_layers(model)
    shared = sharding.Sharding(model, ctx.ranks, device if in_parts else None)
    layout = completions.layout_of(model, learned.chosen, params["precision"])
    packed.tell(layout, packed.why_padded(model, params["precision"]), ctx)
    ctx.log(f"{len(learned.chosen)} rows, {facts['tokens']} tokens per epoch")

    def batches(epoch: int) -> list[list[int]]:
        return batches_of_rows(epoch_order(len(learned.chosen), params["seed"], epoch), params["batch_size"])

    drops = adapted is not None and params["lora"]["dropout"] > 0
    draw = functools.partial(lora.seed_dropout, params["seed"]) if drops else None
    objective = completions.objective(model, learned, rule, params["precision"], layout, draw=draw)
    sums = train(model, objective, batches, Recipe.of(params), ctx, "tune", sharding=shared)
    metrics = {
        "final_loss": sums["loss"],  # mean over the updates of the last epoch
        **({"first_loss": sums["begun"]} if "begun" in sums else {}),  # of the first update
        "steps": int(sums["steps"]),
        "rows": len(learned.chosen),
        **facts,
        "padding": round(sums["padded"] / sums["tokens"] - 1, 4),
    }
    if "right" in sums:
        metrics["preferred"] = (
            sums["right"] / sums["rows"]
        )  # pairs whose chosen text gained more, before each update of the last epoch
    if ctx.execution.get("gradient_checkpointing"):
        model.gradient_checkpointing_disable()
    target, text = ctx.result / "model", _card(params, metrics)
    if adapted is not None and "model" not in folders:
        kept.save(adapted, params["lora"], params["model"], target, form.tokenizer, text)
    else:
        save_model(model if adapted is None else lora.merge(adapted), form.tokenizer, target, text)
    return metrics


def _card(params: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The model card's text."""
    from w2s_cli.training.models.card import base_of, recipe_of

    return (
        f"A causal language model: {base_of(params)}, trained by `w2s` on {metrics['rows']:,} texts or pairs of texts.\n\n"
        f"* objective {params['objective']['name']} {params['objective']['args']}, mode {params['mode']}, {params['epochs']} epochs of "
        f"batch {params['batch_size']}, {metrics['steps']:,} updates\n"
        f"{recipe_of(params)}"
    )
