"""few_shot: the labels of a pool by a pretrained language model, prompted with a few labelled examples; no training.

Burns et al. 2023 use 5 weak labels as examples in the prompt instead of finetuning on them.

    <example> suffix token separator … <query> suffix →  the next-token logits of the label tokens

* Where the model's tokenizer has a chat template (few_shot.chat), each example is a turn of the user, <example> suffix, and the assistant's
  answer, its label; the query is the last turn. Spaces at the ends of texts and labels are left out, as in the model's own training.
* Examples are drawn by the hash of (seed, row id), from each class of the labels in turn. Their order in the prompt is drawn too. All
  queries share the examples, so the examples go through the model once, and their keys and values are used again.
* A query whose prompt exceeds the context has fewer shots: as many of the shortest drawn examples as fit. Only a query that exceeds the
  context without any example is cut, never its suffix. The metrics count the rows by number of shots, and the cut rows.
* The probabilities are a softmax over the label tokens only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import TRUTH, Amounts, Labels, Model, Pool, Role, Spec, Traits, Work
from w2s_cli.stages._cautions import unread_texts
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from torch import Tensor

    from w2s_cli.pipeline.builder import Planning

VERSION = 2
NEUTRAL = {"chat_template": None}
TRAITS = Traits(gives="labels", learns=True, shared=True)
SHARD_ROWS = 4096  # a killed stage repeats at most this many rows


def plan(
    job: "Planning",
    *,
    role: Role = "student",
    model: Model,
    rows: Pool,
    examples: Pool,
    labels: Annotated[Labels, "examples"] = TRUTH,
) -> Spec:
    """The labels of a pool by a pretrained model, prompted with examples and their labels."""
    prompt, data = job.config["few_shot"], job.config["data"]
    settings = model.settings(role)
    job.need_causal(settings, role, "prompts a language model", "use a method that trains the student")
    job.check_label_tokens(prompt["tokens"], "use a method that trains the student")
    template = job.chat_template(settings, prompt["chat"])
    fields = ("shots", "tokens", "suffix") if template else ("shots", "tokens", "suffix", "separator")
    params = {
        "model": settings["base"],
        **{field: prompt[field] for field in fields},
        "chat_template": template,
        "max_length": settings["max_length"],
        "truncation": data["truncation"],
        "precision": settings["precision"],
        "seed": job.training_seed(settings, role),
        "shard_rows": SHARD_ROWS,
    }
    return Spec(
        params,
        {"rows": rows, "examples": examples, "labels": labels, "model": settings["trunk"]},
        slug=f"{role}-{settings['name']}-{data['name']}-{rows.name}-{prompt['shots']}-shot-s{params['seed']}",
        execution=job.opens(settings),
        about={**job.about(settings, rows, role), "seed": params["seed"]},
        words=[f"{prompt['shots']} shots", *(["chat"] if template else [])],
    )


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """A forward pass over each row, with the examples of its prompt."""
    return Work(2 * amounts.parameters * amounts.tokens("rows") * (params["shots"] + 1))


cautions = unread_texts


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id, p [classes], logits [classes]; no text) in the pool's order.

    `params`: model, shots, tokens (one label token for each class), suffix, separator, chat_template (its sha256; None: no chat),
    max_length, truncation, precision, seed, shard_rows. `inputs`: rows (to label), examples (rows), labels (of the examples; absent:
    ground truth; the class is the argmax, a row without a label is no example), model (instead of params.model).

    Raises:
        UserError: no causal model, a label token of several tokens, pairs, too few examples, no example that fits the context, or another
            chat template than the planned one.
    """
    import numpy as np
    import torch

    from w2s_cli.data.artifacts.labels import write_labels
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.training import chat, shots
    from w2s_cli.training.batching import ALONE, PADDED
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.memory import Budget, gather
    from w2s_cli.training.models import bf16
    from w2s_cli.training.models.forward_pass import depends_on_others, softmax
    from w2s_cli.training.models.language_model import label_ids, label_rows, open_language_model
    from w2s_cli.training.models.opening import base_folder, quiet, weights_format
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.shards import in_shards
    from w2s_cli.training.tokens import check_ids, context_limit, cut_summary, open_plain_tokenizer

    fault("few_shot.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    examples, classes = shots.examples(cast(Path, inputs["examples"]), cast(Path | None, inputs.get("labels")), rows)
    chosen = shots.draw(examples.ids, classes, rows.classes, int(params["shots"]), int(params["seed"]))
    folder = base_folder(params.get("model"), cast(Path | None, inputs.get("model")), ctx)
    ctx.measure(weights=weights_format(folder))
    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_plain_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    template, suffix, labels = params.get("chat_template"), params["suffix"], params["tokens"]
    place = space = ""
    if template:
        if tokenizer.chat_template is None or chat.digest(tokenizer.get_chat_template()) != template:
            raise UserError(f"the chat template in {folder} has changed since the plan: run the command again")
        suffix, labels = suffix.rstrip(), [text.strip() for text in labels]
        place, space = chat.at_answer(tokenizer, suffix, labels[0])
    label_tokens = label_ids(tokenizer, [space + text for text in labels], rows.classes, place)
    kept = bf16.for_reading(params["precision"])
    model = open_language_model(folder, device, ctx.execution, params["max_length"], kept=kept).eval()
    output = label_rows(model, label_tokens)
    limit = context_limit(usable_positions(model), tokenizer, params["max_length"])

    shown = [(examples.texts[row], labels[classes[row]]) for row in chosen]
    if template:
        heads, (queries, counts, cut, empty) = shots.chats(tokenizer, shown, rows.texts, suffix, limit)
    else:
        heads = shots.prompts(tokenizer, [f"{text}{suffix}{label}{params['separator']}" for text, label in shown])
        queries, counts, cut, empty = shots.queries(tokenizer, rows.texts, suffix, heads, limit)
    if chosen and not counts.any():
        raise UserError(
            f"no example fits: the shortest prompt with one example takes {len(heads[1])} tokens beside the query, and the "
            f"context is {limit}; raise max_length, or use shorter texts"
        )
    check_ids([*queries, *(np.array(ids) for ids in heads.values() if ids)], model.config, folder)
    lengths = np.array([len(heads[shot]) + len(query) for shot, query in zip(counts, queries, strict=True)])
    extremes = [np.array([*heads[int(counts[row])], *queries[row]]) for row in (lengths.argmin(), lengths.argmax())]
    layout = ALONE if depends_on_others(model, extremes, params["precision"]) else PADDED
    ctx.log(f"{len(rows.ids)} rows, {len(chosen)} examples, {int(lengths.sum())} tokens, {cut} rows cut")
    budget = Budget(ctx, "eval_tokens")
    read_heads: dict[int, Any] = {}

    def compute(start: int, end: int) -> np.ndarray:
        part_logits = np.empty((end - start, len(label_tokens)), dtype=np.float32)
        for shot in sorted({int(shot) for shot in counts[start:end]}):
            if shot not in read_heads:
                # a model whose rows go alone reads the examples in another way without the query
                start_of = [] if layout.alone else heads[shot]
                read_heads[shot] = shots.read_head(model, start_of, device, params["precision"])
            same = np.flatnonzero(counts[start:end] == shot) + start

            def read(piece: list[int], shot: int = shot, same: np.ndarray = same) -> "Tensor":
                states = [
                    shots.last_hidden(model, together, heads[shot], read_heads[shot], device, params["precision"])
                    for together in layout.passes([queries[row] for row in same[piece]])
                ]
                return torch.cat(states) @ output.T

            part_logits[same - start] = gather(read, lengths[same], budget, layout)
        return part_logits

    logits = in_shards(len(rows.ids), int(params["shard_rows"]), ctx, "few_shot", compute, lengths)
    if not np.isfinite(logits).all():
        raise UserError(f"{folder} gives logits that are not finite for {rows.path}: set the model's precision=fp32")
    p = softmax(logits)  # [rows, classes]
    write_labels(ctx.result, rows.ids, p, logits)
    shot_numbers, times = np.unique(counts, return_counts=True)
    prompted = {examples.ids[row] for row in chosen}
    return {
        "rows": len(rows.ids),
        "accuracy": float((logits.argmax(1) == rows.labels).mean()),
        "mean_p": [float(value) for value in p.mean(0, dtype=np.float64)],
        "shots_used": {str(shot): int(count) for shot, count in zip(shot_numbers, times, strict=True)},  # shots → rows
        "examples": [examples.ids[row] for row in chosen],  # in the order of the prompt
        "examples_accuracy": float(np.mean([classes[row] == examples.labels[row] for row in chosen]))
        if chosen
        else None,
        "rows_in_prompt": sum(name in prompted for name in rows.ids),  # their own label was in the prompt
        "truncated": cut_summary(cut, len(rows.ids), limit),
        "empty": empty,
    }
