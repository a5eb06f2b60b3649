"""Prompts with labelled examples: which examples, how many fit before each query, and the query's last hidden state after them.

For stages/few_shot.py, which says what a prompt looks like. Queries with as many examples share the beginning of their prompt, the head,
which goes through the model once. Of chats each whole prompt is tokenised, as the model was trained; the head is what all of them share.
"""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from w2s_cli.data.artifacts.rows import Rows, read_rows
from w2s_cli.errors import UserError
from w2s_cli.statistics.draw import drawer
from w2s_cli.training.batching import pad
from w2s_cli.training.chat import around
from w2s_cli.training.device import autocast
from w2s_cli.training.prompting import encode_with_suffix
from w2s_cli.training.targets import probabilities

Heads = dict[int, list[int]]  # shots → token ids of that many examples


class Queries(NamedTuple):
    """The texts in question, each with the end of its prompt."""

    ids: list[np.ndarray]  # each [tokens], int32
    shots: np.ndarray  # [rows] examples that fit before the query
    truncated: int  # number of cut rows
    empty: int  # number of rows whose text has only special and unknown tokens, or none


def examples(folder: Path, labels: Path | None, rows: Rows) -> tuple[Rows, np.ndarray]:
    """The rows that may be examples and their classes by `labels`, [rows] int."""
    labelled = read_rows(folder)
    if rows.second is not None or labelled.second is not None:
        raise UserError("few_shot asks about single texts, and these rows are pairs; use a finetuned student for them")
    if labelled.classes != rows.classes:
        raise UserError(
            f"the examples of {labelled.path} have the classes {labelled.classes}, and {rows.path} has {rows.classes}"
        )
    used, p, _ = probabilities(labelled, labels)
    return used, p.argmax(1)


def draw(ids: list[str], classes: np.ndarray, names: list[str], shots: int, seed: int) -> list[int]:
    """Row numbers of the examples, in the order of the prompt: `shots` of them, in turn from each class.

    The rows, the first class and the order are each drawn by the hash of the seed and a name.

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
    missing = [names[number] for number, rows in waiting.items() if not rows]
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
    heads: Heads = {0: []}
    for count, places in enumerate(_shortest(tokenizer, shown)[1:], start=1):
        text = "".join(shown[place] for place in places)
        encoded = tokenizer(text, return_special_tokens_mask=True)
        ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
        while added and added[-1]:  # an end token would close the prompt
            ids, added = ids[:-1], added[:-1]
        heads[count] = ids
    return heads


def _shortest(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """For 0, 1, … examples the places of as many of the shortest texts, in the order of the prompt."""
    sizes = [len(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []
    shortest = sorted(range(len(texts)), key=lambda place: (sizes[place], place))
    return [sorted(shortest[:count]) for count in range(len(texts) + 1)]


def chats(
    tokenizer: Any, shown: list[tuple[str, str]], texts: list[str], suffix: str, limit: int
) -> tuple[Heads, Queries]:
    """As `prompts` and `queries`, for examples (text, label) as turns of a chat."""
    shown, texts = [(text.strip(), label) for text, label in shown], [text.strip() for text in texts]
    heads: Heads = {}
    queries, shots = [np.empty(0, dtype=np.int32)] * len(texts), np.zeros(len(texts), dtype=np.int64)
    waiting, cut, empty = np.arange(len(texts)), 0, 0
    for count, places in reversed(list(enumerate(_shortest(tokenizer, [text for text, _ in shown])))):
        before, after = around(tokenizer, [shown[place] for place in places], suffix)
        most = limit if count == 0 else 1 << 30
        encoded = encode_with_suffix(
            tokenizer, [texts[row] for row in waiting], after, most, special=False, before=before
        )
        if len(waiting) == len(texts):  # every text is in the first round
            empty = encoded.empty
        fits = encoded.lengths <= limit
        rows = {row: ids for row, ids, fit in zip(waiting, encoded.ids, fits, strict=True) if fit}
        head = tokenizer(before, add_special_tokens=False)["input_ids"]
        heads[count] = head = head[: _common(np.array(head), rows.values())]
        for row, ids in rows.items():
            queries[row], shots[row] = ids[len(head) :], count
        waiting, cut = waiting[~fits], encoded.truncated
    return heads, Queries(queries, shots, cut, empty)


def _common(head: np.ndarray, rows: Iterable[np.ndarray]) -> int:
    """The length of the longest beginning of `head` with which all rows begin; each row has a token after it."""
    length = len(head)
    for row in rows:
        length = min(length, len(row) - 1)
        differing = np.flatnonzero(head[:length] != row[:length])
        length = int(differing[0]) if len(differing) else length
    return length


def queries(tokenizer: Any, texts: list[str], suffix: str, heads: Heads, limit: int) -> Queries:
    """The queries after as many of the examples in `heads` as fit."""
    alone = encode_with_suffix(tokenizer, texts, suffix, limit)
    after = encode_with_suffix(tokenizer, texts, suffix, limit, special=False).ids
    whole = encode_with_suffix(tokenizer, texts, suffix, 1 << 30, special=False).lengths
    queries, shots = [], np.zeros(len(texts), dtype=np.int64)
    for row in range(len(texts)):
        fitting = (count for count in sorted(heads, reverse=True) if count and len(heads[count]) + whole[row] <= limit)
        shots[row] = next(fitting, 0)
        queries.append(after[row] if shots[row] else alone.ids[row])
    return Queries(queries, shots, alone.truncated, alone.empty)


def read_head(model: Any, ids: list[int], device: torch.device, precision: str) -> Any:
    """Keys and values of the examples' part of the prompt; None for a prompt without examples, or where the cache cannot be repeated."""
    if not ids:
        return None
    with torch.inference_mode(), autocast(device, precision):
        cache = model.base_model(input_ids=torch.tensor([ids], device=device), use_cache=True).past_key_values
    return cache if hasattr(cache, "batch_repeat_interleave") else None


@torch.inference_mode()
def last_hidden(
    model: Any, queries: Sequence[np.ndarray], head: list[int], cached: Any, device: torch.device, precision: str
) -> Tensor:
    """Hidden state of each query's last token after the examples, [rows, width] fp32."""
    before = np.array(head, dtype=np.int32)
    rows = list(queries) if cached is not None else [np.concatenate([before, query]) for query in queries]
    ids, mask = (part.to(device) for part in pad(rows, 0))
    last = mask.sum(1) - 1
    options: dict[str, Any] = {"use_cache": False}
    if cached is not None:
        cache = copy.deepcopy(cached)
        cache.batch_repeat_interleave(len(rows))
        mask = torch.cat([mask.new_ones(len(rows), len(head)), mask], dim=1)  # [rows, head + query]
        options = {"use_cache": True, "past_key_values": cache}
    with autocast(device, precision):
        hidden = model.base_model(input_ids=ids, attention_mask=mask, **options).last_hidden_state
    return hidden[torch.arange(len(rows), device=device), last].float()  # type: ignore[no-any-return]
