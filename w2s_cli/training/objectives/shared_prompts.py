"""Texts with one prompt as one row with branches: the prompt goes through the model once for both texts of a pair, or for all samples.

* The last token of the prompt predicts the first token of each completion. The last token of a completion predicts nothing and is left out.
* Two branches in a row cost scores between their tokens, which the mask hides. `_worth` weighs them against the prompt that is saved.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from w2s_cli.training.attention.packed import Branches
from w2s_cli.training.batching import pad
from w2s_cli.training.texts import Written


class Rows(NamedTuple):
    """Texts as rows, with the places of the states that predict their tokens."""

    ids: Tensor  # [rows, tokens]
    mask: Tensor  # [rows, tokens]
    tails: list[int]  # of each row the number of its last tokens that predict one
    branches: Branches | None  # None: no two texts share a row
    places: Tensor  # [tokens of all completions], text after text, among the tails of all rows
    targets: Tensor  # [tokens of all completions] their ids


def grouped(texts: Sequence[Written], width: int, most: int) -> list[list[int]]:
    """The numbers of the texts of each row: texts of one prompt, as many as are worth it.

    Args:
        texts: a text without a prompt has a row of its own.
        width: of the model's states.
        most: tokens of a row with several texts.
    """
    groups: list[list[int]] = []
    tokens: list[int] = []  # of each group, after the prompt
    latest: dict[tuple[int, ...], int] = {}  # prompt → its last group
    for number, text in enumerate(texts):
        prompt, count = len(text.prompt), len(text.completion) - 1
        group = latest.get(tuple(text.prompt)) if prompt else None
        if group is not None and _worth(prompt, tokens[group], count, width) and prompt + tokens[group] + count <= most:
            groups[group].append(number)
            tokens[group] += count
        else:
            latest[tuple(text.prompt)] = len(groups)
            groups.append([number])
            tokens.append(count)
    return groups


def _worth(prompt: int, others: int, tokens: int, width: int) -> bool:
    """Whether one more branch of `tokens` saves more than it costs.

    Branches of a and b tokens in the row of a prompt of p save p tokens (24 width² FLOPs a layer each) and p² scores, and cost 2ab scores
    (4 width FLOPs each).
    """
    return 2 * others * tokens - prompt**2 <= 6 * width * prompt


def length_of(texts: Sequence[Written]) -> int:
    """Tokens of the row of some texts of one prompt."""
    return len(_beginning(texts[0])) + sum(len(_after(text)) for text in texts)


def _beginning(text: Written) -> list[int]:
    """What goes before the first token that is predicted: the prompt, or the text's own first token."""
    return text.prompt or text.completion[:1]


def _after(text: Written) -> list[int]:
    """The tokens after the beginning that predict a further one."""
    return _targets(text)[:-1]


def _targets(text: Written) -> list[int]:
    """The tokens that are predicted."""
    return text.completion if text.prompt else text.completion[1:]


def rows_of(texts: Sequence[Written], groups: Sequence[Sequence[int]]) -> Rows:
    """The rows of these texts, from `grouped`, the longest first."""
    rows = sorted(groups, key=lambda group: -length_of([texts[number] for number in group]))
    places: list[Tensor] = [torch.empty(0)] * len(texts)
    tails, before = [], 0
    for row in rows:
        at = before + 1
        for number in row:
            more = len(_after(texts[number]))
            predicting = [before, *range(at, at + more)] if len(_targets(texts[number])) else []
            places[number] = torch.tensor(predicting, dtype=torch.int64)
            at += more
        tails.append(at - before)
        before = at
    ids, mask = pad([_ids([texts[number] for number in row]) for row in rows], 0)
    targets = torch.tensor([token for text in texts for token in _targets(text)], dtype=torch.int64)
    return Rows(ids, mask, tails, _branches(texts, rows, ids), torch.cat(places), targets)


def _ids(texts: Sequence[Written]) -> list[int]:
    return [*_beginning(texts[0]), *(token for text in texts for token in _after(text))]


def _branches(texts: Sequence[Written], rows: Sequence[Sequence[int]], ids: Tensor) -> Branches | None:
    if all(len(row) == 1 for row in rows):
        return None
    positions = torch.zeros_like(ids)
    of: list[list[int]] = []
    for place, row in enumerate(rows):
        beginning = len(_beginning(texts[row[0]]))
        own, branch = list(range(beginning)), [0] * beginning
        for number, text in enumerate(row, 1):
            more = len(_after(texts[text]))
            own += range(beginning, beginning + more)
            branch += [number] * more
        positions[place, : len(own)] = torch.tensor(own)
        of.append(branch)
    return Branches(positions, of)
