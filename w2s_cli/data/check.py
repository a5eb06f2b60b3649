"""Look at a data set before models do: sizes, base rates, duplicates, groups, truncation, and shortcuts.

* Duplicates are equal texts after lower case and single spaces. Between training halves and test they let a model remember instead
  of generalise.
* A pair is the same pair in the other order, too. Whichever text a model cannot read whole counts as cut.
* The shortcut test is a bag-of-words classifier trained on both halves (`baseline.py`). It knows no meaning; what it gets right on the
  test rows is there without any. Words that only come with one label are named.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from w2s_cli.data.bag_of_words import Integers
from w2s_cli.data.baseline import PAIR, baseline

NEARLY_ALL = 0.95  # baseline accuracy that no task with a meaning has
MANY_DUPLICATES = 0.01  # of the smaller pool
MANY_CUT = 0.05  # of the texts, by the tokens of a model
TELLTALES_SHOWN = 8
TRAIN = ("weak_train", "strong_train")

Key = tuple[str, ...]  # a row's text, or a pair's two in alphabetical order
Count = Callable[[Sequence[str]], list[int]]  # texts → tokens of each


def check(
    tables: Mapping[str, pa.Table], classes: Sequence[str], tokenizers: Mapping[str, tuple[Count, int]] | None = None
) -> dict[str, Any]:
    """The report on the pools of one data set.

    Args:
        tables: pool → rows (id, group, text, label; of pairs also second).
        classes: class names.
        tokenizers: model name → (a function from texts to token counts, the most tokens the model reads).

    Returns:
        pools, duplicates, crossings, truncation, baseline, telltales, and `problems`: what makes results doubtful, in words.
    """
    texts = {pool: _columns(table) for pool, table in tables.items()}
    labels = {pool: table.column("label").to_numpy().astype(np.int64) for pool, table in tables.items()}
    keys = {pool: [tuple(sorted(row)) for row in zip(*columns, strict=True)] for pool, columns in texts.items()}
    order = {pool: _turned(*columns) for pool, columns in texts.items()}
    pairs = any(len(columns) > 1 for columns in texts.values())
    report: dict[str, Any] = {
        "classes": list(classes),
        "pools": {pool: _size(labels[pool], len(classes)) for pool in tables},
        "duplicates": _duplicates(keys),
        "contradictions": _contradictions(keys, {pool: labels[pool] ^ order[pool] for pool in tables}),
        "crossings": _crossings(tables),
        "truncation": {name: _truncation(tables, count, most) for name, (count, most) in (tokenizers or {}).items()},
        "word_classes": list(PAIR if pairs else classes),  # what words can speak for
        "baseline": None,
        "telltales": [],
    }
    train = [pool for pool in TRAIN if pool in tables]
    if train and "test" in tables:
        report["baseline"], report["telltales"] = baseline(texts, labels, train, len(classes))
    report["problems"] = problems(report)
    return report


def problems(report: Mapping[str, Any]) -> list[str]:
    """What in a report makes results doubtful."""
    found = []
    for pair, count in report["crossings"].items():
        if "test" not in pair.split(" and "):  # a data set's own test split may share questions: reported, no problem
            found.append(f"{count} groups have rows in both {pair}")
    for pair, same in report["duplicates"].items():
        if same["share"] > MANY_DUPLICATES and " and " in pair:
            found.append(f"{same['rows']} texts ({same['share']:.1%}) stand in both {pair}")
    for tale in report["telltales"][:TELLTALES_SHOWN]:
        found.append(
            f'"{tale["words"]}" gives the label away: it stands in {tale["share"]:.1%} of the training rows, and '
            f"{tale['purity']:.1%} of those are {report['word_classes'][tale['class']]}"
        )
    for model, cut in report["truncation"].items():
        if cut["share"] > MANY_CUT:
            found.append(
                f"{cut['share']:.1%} of the texts are cut at {cut['max_length']:,} tokens for {model}: results may not be meaningful; "
                "raise MODEL.max_length (weak.max_length, strong.max_length) as far as the model can read"
            )
    reached = report["baseline"]
    if reached and reached["interval"][0] > NEARLY_ALL:
        words = ", ".join(f'"{word}"' for word, _, _ in reached["words"])
        found.append(
            f"words alone reach {reached['accuracy']:.1%} of the test rows: is the label in the text? Heaviest words: {words}"
        )
    return found


def _columns(table: pa.Table) -> list[list[str]]:
    """The normalised texts, and of pairs the second ones."""
    names = [name for name in ("text", "second") if name in table.column_names]
    return [[" ".join(text.lower().split()) for text in table.column(name).to_pylist()] for name in names]


def _turned(first: Sequence[str], second: Sequence[str] = ()) -> Integers:
    """1 where a pair's second text comes first in the alphabet, so that its label is told of the same order as its twin's."""
    return np.array([int(b < a) for a, b in zip(first, second or first, strict=True)], dtype=np.int64)


def _size(labels: Integers, classes: int) -> dict[str, Any]:
    return {"rows": len(labels), "base_rates": [float((labels == number).mean()) for number in range(classes)]}


def _duplicates(texts: Mapping[str, Sequence[Key]]) -> dict[str, dict[str, float]]:
    """Rows whose text stands earlier in the same pool, and rows of a pool's that stand in another; empty where there are none."""
    sets = {pool: set(found) for pool, found in texts.items()}
    counts = {pool: (len(found) - len(sets[pool]), len(found)) for pool, found in texts.items()}
    for one, other in combinations(texts, 2):
        smaller = min(len(sets[one]), len(sets[other]))
        counts[f"{one} and {other}"] = (len(sets[one] & sets[other]), smaller)
    return {where: {"rows": same, "share": same / of} for where, (same, of) in counts.items() if same}


def _contradictions(texts: Mapping[str, Sequence[Key]], labels: Mapping[str, Integers]) -> int:
    """Texts that come with more than one label."""
    seen: dict[Key, set[int]] = {}
    for pool, found in texts.items():
        for text, label in zip(found, labels[pool].tolist(), strict=True):
            seen.setdefault(text, set()).add(label)
    return sum(len(every) > 1 for every in seen.values())


def _crossings(tables: Mapping[str, pa.Table]) -> dict[str, int]:
    """Groups (question, passage, pair) with rows in two pools."""
    groups = {pool: set(table.column("group").to_pylist()) for pool, table in tables.items()}
    shared = {f"{one} and {other}": len(groups[one] & groups[other]) for one, other in combinations(groups, 2)}
    return {pair: count for pair, count in shared.items() if count}


def _truncation(tables: Mapping[str, pa.Table], count: Count, most: int) -> dict[str, Any]:
    """How many texts a model cannot read whole."""
    columns = [
        table.column(name) for table in tables.values() for name in ("text", "second") if name in table.column_names
    ]
    lengths = np.array([n for column in columns for n in count(column.to_pylist())])
    cut = int((lengths > most).sum())
    return {
        "max_length": most,
        "rows": cut,
        "share": cut / len(lengths),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }
