"""generate: texts that a language model writes for the prompts of a pool.

* A text does not depend on the batch, the order of rows, shards or a resume (in fp32): its randomness belongs to its row and sample
  (`training/generation/sampling.py`). Greedy texts have no seed in their key, so all seeds share them.
* Prompts may begin with demonstrations: of the examples' rows, with their true solutions or with the texts of another stage, or of a file.
  A prompt that would exceed the context has fewer of them; only a prompt that is too long by itself is cut, on the side of data.truncation.
* Texts are written shard by shard: a killed stage repeats at most one shard.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Amounts, Edge, Model, Pool, Role, Spec, Traits, Work
from w2s_cli.stages._cautions import unread_texts
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    import pyarrow as pa

    from w2s_cli.pipeline.builder import Planning

VERSION = 1
NEUTRAL = {"instruction": None}
TRAITS = Traits(gives="texts", shared=True)
SHARD_TEXTS = 512
SAMPLED = ("temperature", "top_p", "top_k")
NEW_TOKENS = 512  # where neither the command nor the recipe says


def plan(
    job: "Planning",
    *,
    role: Role = "student",
    model: Model,
    rows: Pool,
    examples: Pool | None = None,
    texts: Edge | None = None,
    generation: Mapping[str, Any] | None = None,
) -> Spec:
    """Texts for a pool's prompts.

    Args:
        examples: the rows of demonstrations before each prompt.
        texts: their texts; None: their true solutions.
        generation: values of this stage that replace fields of generation.*.
    """
    fields, data = job.config["generation"].over(generation or {}), job.config["data"]
    job.need_problems("prompt")
    settings = model.settings(role)
    job.need_causal(settings, role, "writes texts", "use a method that classifies")
    shown = _demonstrations(job, fields, examples)
    if shown is None or "sha256" in shown:  # what is not read is no input
        examples = texts = None
    elif texts is None:
        job.need_problems("solution")
    template = job.chat_template(settings, fields["chat"], "generation.chat")
    params = {
        "model": settings["base"],
        "samples": fields["samples"],
        **writing_of(job, fields),
        "instruction": fields["instruction"] or None,
        "demonstrations": shown,
        "chat_template": template,
        "engine": fields["engine"],
        "max_length": settings["max_length"],
        "truncation": data["truncation"],
        "precision": settings["precision"],
        "seed": job.training_seed(settings, role) if fields["temperature"] or shown else None,
        "shard_texts": SHARD_TEXTS,
    }
    job.need_room(settings, params["max_new_tokens"])
    need_engine(job, fields)
    if fields["samples"] > 1 and not fields["temperature"]:
        raise UserError(
            f'stage "{job.stage}": generation.samples={fields["samples"]} greedy texts of a prompt are all the same: set '
            "generation.temperature above 0, or samples=1."
        )
    how = f"T {fields['temperature']:g}" if fields["temperature"] else "greedy"
    many = f"{fields['samples']} × " if fields["samples"] > 1 else ""
    told = ["instruction"] if fields["instruction"] else []
    return Spec(
        params,
        {"rows": rows, "model": settings["trunk"], "examples": examples, "texts": texts},
        slug=f"{role}-{settings['name']}-{data['name']}-{rows.name}",
        execution={
            **job.opens(settings),
            "demonstrations_path": job.resolver.file(fields["demonstrations"], "generation.demonstrations")[1]
            if shown and "sha256" in shown
            else None,
        },
        about={**job.about(settings, rows, role), **({} if params["seed"] is None else {"seed": params["seed"]})},
        words=[f"{many}{how}", *told, *([f"{shown['shots']} shots"] if shown else []), *(["chat"] if template else [])],
    )


def need_engine(job: "Planning", fields: Mapping[str, Any]) -> None:
    """Refuse to run texts by an engine whose package is not installed."""
    if fields["engine"] != "w2s":
        job.resolver.need_package(fields["engine"], f"generation.engine={fields['engine']} needs the package")


def engine(params: Mapping[str, Any]) -> "Callable[..., tuple[pa.Table, dict[str, Any]]]":
    """The function that writes the texts of a stage with these params: `writing.write_texts`, or that of another engine."""
    from w2s_cli.training.generation import writing

    if params["engine"] == "vllm":
        from w2s_cli.training.generation import vllm

        return vllm.write_texts
    return writing.write_texts


def writing_of(job: "Planning", fields: Mapping[str, Any]) -> dict[str, Any]:
    """The params of how a text is written and where it ends, from the fields of generation.* and the recipe."""
    data = job.config["data"]
    stop = list(data["stop"] if fields["stop"] is None else fields["stop"])
    if "" in stop:
        raise UserError(
            f'stage "{job.stage}": a stop string is empty, so every text would end at once: leave it out of generation.stop (or data.stop).'
        )
    return {
        **({name: fields[name] for name in SAMPLED} if fields["temperature"] else {"temperature": 0.0}),
        "repetition_penalty": fields["repetition_penalty"],
        "max_new_tokens": fields["max_new_tokens"] or data["new_tokens"] or NEW_TOKENS,
        "stop": stop,
    }


def _demonstrations(job: "Planning", fields: Mapping[str, Any], examples: Pool | None) -> dict[str, Any] | None:
    """What determines the demonstrations beside the inputs; None: the prompts have none."""
    if examples is None or not fields["shots"]:
        return None
    shown = {"shots": fields["shots"], "separator": fields["separator"]}
    if fields["demonstrations"]:
        from w2s_cli.training.generation.demonstrations import of_file

        shown["sha256"], path = job.resolver.file(fields["demonstrations"], "generation.demonstrations")
        of_file(Path(path), fields["shots"])  # a faulty file is refused before anything runs
    return shown


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """A forward pass over each prompt and each token of a text of the longest length; demonstrations go through the model once."""
    written = amounts.rows("rows") * params["samples"] * params["max_new_tokens"]
    return Work(2 * amounts.parameters * (amounts.tokens("rows") + written), written=written)


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """The lines of unread prompts, and one if the texts say little: all empty, or most of them cut."""
    lines = unread_texts(metrics, params, about)
    texts, finishes = metrics.get("texts", 0), metrics.get("finish", {})
    who = f"{about['model']} ({about['role']}) on {about['rows']}"
    wanted = (params["demonstrations"] or {}).get("shots", 0)
    fewer = {int(number): rows for number, rows in metrics.get("shots", {}).items() if int(number) < wanted}
    if fewer:
        short = (
            f"{sum(fewer.values()):,} of {metrics['rows']:,} prompts of {who} had no room for {wanted} demonstrations"
        )
        none = f", {fewer[0]:,} of them not for one" if 0 in fewer else ""
        lines.append(
            f"Caution: {short}{none}: it reads {params['max_length']} tokens at most, {params['max_new_tokens']} of them its own. Show "
            "fewer or shorter ones (generation.shots), or set generation.max_new_tokens lower."
        )
    if texts and metrics["empty_texts"] == texts:
        lines.append(
            f"Caution: all {texts:,} texts of {who} are empty: has it learned to end at once, or does a stop string begin each?"
        )
    elif texts and finishes.get("length", 0) > texts / 2:
        share = finishes["length"] / texts
        lines.append(
            f"Caution: {share:.0%} of the texts of {who} were cut at {params['max_new_tokens']} tokens; raise generation.max_new_tokens, "
            "or set generation.stop"
        )
    return lines


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write completions.parquet (`data.artifacts.completions`).

    `params`: model, samples, temperature, top_p, top_k, repetition_penalty, max_new_tokens, stop, instruction (only if there is one),
    demonstrations {shots, separator}, chat_template (its sha256; None: plain), engine, max_length (of prompt and text), truncation,
    precision, seed, shard_texts.
    `inputs`: rows; examples and texts (of demonstrations); model (instead of params.model).

    Raises:
        UserError: no causal model, no room for a text in the context, an empty prompt, or logits that are not finite.
    """
    from w2s_cli.data.artifacts.completions import read_completions, write_completions
    from w2s_cli.data.artifacts.rows import read_problems
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.generation import demonstrations
    from w2s_cli.training.models.opening import base_folder, quiet, weights_format

    fault("generate.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    problems = read_problems(cast(Path, inputs["rows"]))
    folder = base_folder(params.get("model"), cast(Path | None, inputs.get("model")), ctx)
    ctx.measure(weights=weights_format(folder))
    shown = demonstrations.chosen(
        params, cast(Path | None, inputs.get("examples")), cast(Path | None, inputs.get("texts")), ctx
    )
    asked = {prompt for prompt, _ in shown}
    in_prompt = sum(prompt in asked for prompt in problems.prompts)
    if instruction := params.get("instruction"):
        problems = replace(problems, prompts=[_instructed(prompt, instruction) for prompt in problems.prompts])
        shown = [(_instructed(prompt, instruction), text) for prompt, text in shown]
    table, facts = engine(params)(params, folder, problems, shown, device, ctx)
    write_completions(ctx.result, table)
    completions = read_completions(ctx.result)
    return {
        "rows": len(problems.ids),
        "texts": len(completions.ids),
        "tokens": int(completions.tokens.sum()),
        "mean_tokens": round(float(completions.tokens.mean()), 2),
        "finish": {finish: completions.finishes.count(finish) for finish in ("end", "stop", "length")},
        "empty_texts": sum(not text for text in completions.texts),
        "rows_in_prompt": in_prompt,  # their own text was in the prompt
        **facts,
    }


def _instructed(prompt: str, instruction: str) -> str:
    """A prompt with the instruction after it, and a space between them unless one of them has it."""
    apart = not prompt or prompt[-1].isspace() or instruction[0].isspace()
    return prompt + ("" if apart else " ") + instruction
