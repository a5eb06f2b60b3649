"""Texts by hand, for the tests of the rules that choose and pair."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from w2s_cli.choosing import Place, Source, Texts

Answers = dict[str, Sequence[str | None]]  # row → the answers of its samples


def source(name: str, of_rows: Answers, **changed: Any) -> Source:
    """A source with a text for each answer, `<name> <row> <sample>`; changed: fields of Source."""
    ids = [row for row, of_row in of_rows.items() for _ in of_row]
    samples = [sample for of_row in of_rows.values() for sample in range(len(of_row))]
    said = [answer for of_row in of_rows.values() for answer in of_row]
    fields: dict[str, Any] = {
        "texts": [f"{name} {row} {sample}" for row, sample in zip(ids, samples, strict=True)],
        "tokens": [1] * len(ids),
        "whole": np.ones(len(ids), dtype=bool),
        "answers": said,
        **changed,
    }
    for column in ("whole", "right", "scores"):
        if fields.get(column) is not None:
            fields[column] = np.array(fields[column])
    return Source(name, ids, samples, **fields)


def texts(*sources: Source, rows: Sequence[str] | None = None, seed: int = 0) -> Texts:
    """What a rule sees; rows: by default those of the first source, in its order."""
    return Texts(list(dict.fromkeys(sources[0].ids)) if rows is None else list(rows), sources, seed)


def shuffled(of: Source, seed: int = 0) -> Source:
    """The same texts in another order."""
    order = random.Random(seed).sample(range(len(of.ids)), len(of.ids))
    columns: dict[str, Any] = {}
    for name in ("answers", "right", "scores", "whole"):
        values: Any = getattr(of, name)
        if values is not None:
            columns[name] = [values[at] for at in order] if isinstance(values, list) else values[order]
    lists: dict[str, Any] = {name: [getattr(of, name)[at] for at in order] for name in ("texts", "tokens")}
    return Source(of.name, [of.ids[at] for at in order], [of.samples[at] for at in order], **lists, **columns)


def named(of: Texts, places: Sequence[Place]) -> list[str]:
    """The texts at places."""
    return [of.sources[place.source].texts[place.at] for place in places]
