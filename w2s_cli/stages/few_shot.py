"""Label a pool by prompting a pretrained language model with a few labelled examples; nothing is trained.

Burns et al. 2023 give 5 weak labels as examples instead of finetuning on them.

    <example> suffix token separator … <query> suffix →  the next-token logits of the label tokens

* Examples are drawn by the hash of (seed, row id), in turn from each class (by their given labels), and stand in an order that is drawn
  too. All queries share them, so their part of the prompt goes through the model once and its keys and values are used again.
* A query whose prompt does not fit the context gets fewer shots: the shortest of the drawn examples, as many as fit. Only a query that does
  not even fit alone is cut, never its suffix. The metrics say how many rows saw how many shots, and how many were cut.
* The probabilities are a softmax over the label tokens only.
"""

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from w2s_cli.context import Context
from w2s_cli.data.artifacts.labels import write_labels
from w2s_cli.data.artifacts.rows import Rows, read_rows
from w2s_cli.data.draw import drawer
from w2s_cli.errors import UserError
from w2s_cli.store.faults import fault
from w2s_cli.training.batching import micro_batches, pad
from w2s_cli.training.device import autocast, pick_device
from w2s_cli.training.models.building import quiet
from w2s_cli.training.models.language_model import label_ids, label_rows, open_language_model, open_plain_tokenizer
from w2s_cli.training.models.opening import base_folder, weights_format
from w2s_cli.training.prompting import encode_with_suffix
from w2s_cli.training.shards import in_shards
from w2s_cli.training.targets import probabilities
from w2s_cli.training.tokens import context_limit

Heads = dict[int, list[int]]  # shots → token ids of that many examples


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id, p [classes], logits [classes]) in the pool's order; no text in it.

    `params`: model, shots, tokens (one label token for each class), suffix, separator, max_length, truncation, precision, seed,
    shard_rows. `inputs`: rows (to label), examples (rows), labels (of the examples; absent: ground truth; their argmax is used,
    rows without a label are no examples), model (instead of params.model).

    Raises:
        UserError: no causal model, label tokens that are not one token each, pairs, too few examples, or none that fits.
    """
    fault("few_shot.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    rows = read_rows(cast(Path, inputs["rows"]))
    examples, classes = _examples(cast(Path, inputs["examples"]), cast(Path | None, inputs.get("labels")), rows)
    chosen = draw(examples.ids, classes, rows.classes, int(params["shots"]), int(params["seed"]))
    folder = base_folder(params.get("model"), cast(Path | None, inputs.get("model")), ctx)
    ctx.measure(weights=weights_format(folder))
    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_plain_tokenizer(folder, params["truncation"], trust_remote_code=remote)
    words = label_ids(tokenizer, params["tokens"], rows.classes)
    model = open_language_model(folder, device, ctx.execution, params["max_length"]).eval()
    output = label_rows(model, words)
    limit = context_limit(model.config, tokenizer, params["max_length"])

    shown = [
        f"{examples.texts[row]}{params['suffix']}{params['tokens'][classes[row]]}{params['separator']}"
        for row in chosen
    ]
    heads = prompts(tokenizer, shown)
    queries, shots, cut = _queries(tokenizer, rows.texts, params["suffix"], heads, limit)
    if chosen and not shots.any():
        raise UserError(
            f"no example fits: the shortest prompt with one example takes {len(heads[1])} tokens beside the query, and the "
            f"context is {limit}; raise max_length, or take shorter texts"
        )
    lengths = np.array([len(heads[shot]) + len(query) for shot, query in zip(shots, queries, strict=True)])
    ctx.log(f"{len(rows.ids)} rows, {len(chosen)} examples, {int(lengths.sum())} tokens, {cut} rows cut")
    budget = int(ctx.execution.get("eval_tokens", 32768))
    known: dict[int, Any] = {}

    def compute(start: int, end: int) -> np.ndarray:
        found = np.empty((end - start, len(words)), dtype=np.float32)
        for shot in sorted({int(shot) for shot in shots[start:end]}):
            if shot not in known:
                known[shot] = _read_head(model, heads[shot], device, params["precision"])
            same = [row for row in range(start, end) if shots[row] == shot]
            for piece in micro_batches(same, lengths, budget):
                part = [queries[row] for row in piece]
                hidden = _last_hidden(model, part, heads[shot], known[shot], device, params["precision"])
                found[np.array(piece) - start] = (hidden @ output.T).cpu().numpy()
        return found

    found = in_shards(len(rows.ids), int(params["shard_rows"]), ctx, "few_shot", compute, lengths)
    if not np.isfinite(found).all():
        raise UserError(f"{folder} gives logits that are not numbers for {rows.path}: set the model's precision=fp32")
    p = torch.from_numpy(found).double().softmax(-1).float().numpy()  # [rows, classes]
    write_labels(ctx.result, rows.ids, p, found)
    used, counts = np.unique(shots, return_counts=True)
    prompted = {examples.ids[row] for row in chosen}
    return {
        "rows": len(rows.ids),
        "accuracy": float((found.argmax(1) == rows.labels).mean()),
        "mean_p": [float(value) for value in p.mean(0, dtype=np.float64)],
        "shots_used": {str(shot): int(count) for shot, count in zip(used, counts, strict=True)},  # shots → rows
        "examples": [examples.ids[row] for row in chosen],  # in the order of the prompt
        "examples_accuracy": float(np.mean([classes[row] == examples.labels[row] for row in chosen]))
        if chosen
        else None,
        "rows_in_prompt": sum(name in prompted for name in rows.ids),  # their own label was shown
        "truncated": {"rows": cut, "share": round(cut / len(rows.ids), 4)},
    }


def _examples(folder: Path, labels: Path | None, rows: Rows) -> tuple[Rows, np.ndarray]:
    """The rows that may be examples and their classes by `labels`, [rows] int."""
    found = read_rows(folder)
    if rows.second is not None or found.second is not None:
        raise UserError("few_shot asks about single texts, and these rows are pairs; use a finetuned student for them")
    if found.classes != rows.classes:
        raise UserError(
            f"the examples of {found.path} have the classes {found.classes}, and {rows.path} has {rows.classes}"
        )
    used, p, _ = probabilities(found, labels)
    return used, p.argmax(1)


def draw(ids: list[str], classes: np.ndarray, names: list[str], shots: int, seed: int) -> list[int]:
    """Row numbers of the examples, in the order of the prompt: `shots` of them, in turn from each class.

    Which row, which class comes first, and the order are each the hash of the seed and the name they are drawn for.

    Raises:
        UserError: fewer rows than shots, or a class without any while there are shots for all.
    """
    if shots < 0 or shots > len(ids):
        raise UserError(f"shots={shots}, but there are {len(ids)} labelled examples")
    ranked = drawer("few_shot row", seed)
    waiting = {
        number: sorted((row for row in range(len(ids)) if classes[row] == number), key=lambda row: ranked(ids[row]))
        for number in range(len(names))
    }
    missing = [names[number] for number, found in waiting.items() if not found]
    if missing and shots >= len(names):
        raise UserError(
            f'no example has the label "{missing[0]}", so the prompt would show one side only; label more examples'
        )
    first = drawer("few_shot class", seed)
    turns = sorted(waiting, key=lambda number: first(str(number)))
    chosen: list[int] = []
    while len(chosen) < shots:
        for number in turns:
            if waiting[number] and len(chosen) < shots:
                chosen.append(waiting[number].pop(0))
    order = drawer("few_shot order", seed)
    return sorted(chosen, key=lambda row: order(ids[row]))


def prompts(tokenizer: Any, shown: list[str]) -> Heads:
    """Shots → token ids of a prompt's examples; fewer than all are the shortest ones, in the same order."""
    sizes = [len(ids) for ids in tokenizer(shown)["input_ids"]] if shown else []
    shortest = sorted(range(len(shown)), key=lambda place: (sizes[place], place))
    heads: Heads = {0: []}
    for count in range(1, len(shown) + 1):
        text = "".join(shown[place] for place in sorted(shortest[:count]))
        encoded = tokenizer(text, return_special_tokens_mask=True)
        ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
        while added and added[-1]:  # an end token would close the prompt
            ids, added = ids[:-1], added[:-1]
        heads[count] = ids
    return heads


def _queries(
    tokenizer: Any, texts: list[str], suffix: str, heads: Heads, limit: int
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Token rows of the queries, how many shots fit before each, [rows], and how many rows were cut."""
    alone = encode_with_suffix(tokenizer, texts, suffix, limit)
    after = encode_with_suffix(tokenizer, texts, suffix, limit, special=False).ids
    whole = encode_with_suffix(tokenizer, texts, suffix, 1 << 30, special=False).lengths
    queries, shots = [], np.zeros(len(texts), dtype=np.int64)
    for row in range(len(texts)):
        fitting = (count for count in sorted(heads, reverse=True) if count and len(heads[count]) + whole[row] <= limit)
        shots[row] = next(fitting, 0)
        queries.append(after[row] if shots[row] else alone.ids[row])
    return queries, shots, alone.truncated


def _read_head(model: Any, ids: list[int], device: torch.device, precision: str) -> Any:
    """Keys and values of the examples' part of the prompt; None where there is none, or they cannot be repeated."""
    if not ids:
        return None
    with torch.inference_mode(), autocast(device, precision):
        cache = model.base_model(input_ids=torch.tensor([ids], device=device), use_cache=True).past_key_values
    return cache if hasattr(cache, "batch_repeat_interleave") else None


@torch.inference_mode()
def _last_hidden(
    model: Any, queries: list[np.ndarray], head: list[int], known: Any, device: torch.device, precision: str
) -> Tensor:
    """Hidden state of each query's last token after the examples, [rows, width] fp32."""
    before = np.array(head, dtype=np.int32)
    rows = queries if known is not None else [np.concatenate([before, query]) for query in queries]
    ids, mask = (part.to(device) for part in pad(rows, 0))
    last = mask.sum(1) - 1
    options: dict[str, Any] = {"use_cache": False}
    if known is not None:
        cache = copy.deepcopy(known)
        cache.batch_repeat_interleave(len(rows))
        mask = torch.cat([mask.new_ones(len(rows), len(head)), mask], dim=1)  # [rows, head + query]
        options = {"use_cache": True, "past_key_values": cache}
    with autocast(device, precision):
        hidden = model.base_model(input_ids=ids, attention_mask=mask, **options).last_hidden_state
    return hidden[torch.arange(len(rows), device=device), last].float()  # type: ignore[no-any-return]
