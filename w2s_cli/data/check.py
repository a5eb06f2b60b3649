"""Checks of a data set before any training: sizes, base rates, duplicates, groups, truncation, and shortcuts.

* Duplicates are texts that are equal in lower case and with single spaces. Duplicates between training halves and test let a model
  remember instead of generalise.
* A pair and the same pair in the other order are duplicates. A pair counts as cut if one of its texts is cut.
* The shortcut test is a bag-of-words classifier trained on both halves (`baseline.py`). It knows no meaning, so its accuracy on the
  test rows needs no meaning. Words that come with one label only are listed.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from w2s_cli.data.bag_of_words import Integers
from w2s_cli.data.baseline import PAIR, baseline

NEARLY_ALL = 0.95  # baseline accuracy above that of any task about meaning
MANY_DUPLICATES = 0.01  # of the smaller pool
MANY_CUT = 0.05  # of the texts, by the tokens of a model
TELLTALES_SHOWN = 8
TRAIN = ("weak_train", "strong_train")

Key = tuple[str, ...]  # a row's text, or the two texts of a pair in alphabetical order
Count = Callable[[Sequence[str]], list[int]]  # texts → tokens of each


def check(
    tables: Mapping[str, pa.Table], classes: Sequence[str], tokenizers: Mapping[str, tuple[Count, int]] | None = None
) -> dict[str, Any]:
    """The report on the pools of one data set.

    Args:
        tables: pool → rows (id, group, text, label; for pairs also second).
        classes: class names.
        tokenizers: model name → (a function from texts to token counts, the model's largest number of tokens).

    Returns:
        pools, duplicates, crossings, truncation, baseline, telltales, and `problems`: reasons to doubt results, in words.
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
        "word_classes": list(PAIR if pairs else classes),  # the classes that words can indicate
        "baseline": None,
        "telltales": [],
    }
    train = [pool for pool in TRAIN if pool in tables]
    if train and "test" in tables:
        report["baseline"], report["telltales"] = baseline(texts, labels, train, len(classes))
    report["problems"] = problems(report)
    return report


def problems(report: Mapping[str, Any]) -> list[str]:
    """The reasons in a report to doubt results."""
    reasons = []
    for pair, count in report["crossings"].items():
        if "test" not in pair.split(
            " and "
        ):  # a test split of the data set's own may share questions: reported, but no problem
            reasons.append(f"{count} groups have rows in both {pair}")
    for pair, same in report["duplicates"].items():
        if same["share"] > MANY_DUPLICATES and " and " in pair:
            reasons.append(f"{same['rows']} texts ({same['share']:.1%}) stand in both {pair}")
    for tale in report["telltales"][:TELLTALES_SHOWN]:
        reasons.append(
            f'"{tale["words"]}" gives the label away: it stands in {tale["share"]:.1%} of the training rows, and '
            f"{tale['purity']:.1%} of those are {report['word_classes'][tale['class']]}"
        )
    for model, cut in report["truncation"].items():
        if cut["share"] > MANY_CUT:
            reasons.append(
                f"{cut['share']:.1%} of the texts are cut at {cut['max_length']:,} tokens for {model}: results may not be meaningful; "
                "raise MODEL.max_length (weak.max_length, strong.max_length) as far as the model can read"
            )
    reached = report["baseline"]
    if reached and reached["interval"][0] > NEARLY_ALL:
        words = ", ".join(f'"{word}"' for word, _, _ in reached["words"])
        reasons.append(
            f"words alone reach {reached['accuracy']:.1%} of the test rows: is the label in the text? Heaviest words: {words}"
        )
    return reasons


def _columns(table: pa.Table) -> list[list[str]]:
    """The normalised texts, and for pairs the normalised second texts."""
    names = [name for name in ("text", "second") if name in table.column_names]
    return [[" ".join(text.lower().split()) for text in table.column(name).to_pylist()] for name in names]


def _turned(first: Sequence[str], second: Sequence[str] = ()) -> Integers:
    """1 where the second text of a pair is alphabetically first: there the label must be turned round to compare it with duplicates."""
    return np.array([int(b < a) for a, b in zip(first, second or first, strict=True)], dtype=np.int64)


def _size(labels: Integers, classes: int) -> dict[str, Any]:
    return {"rows": len(labels), "base_rates": [float((labels == number).mean()) for number in range(classes)]}


def _duplicates(texts: Mapping[str, Sequence[Key]]) -> dict[str, dict[str, float]]:
    """Rows that repeat an earlier text of their pool, and rows in two pools; without entries for no such rows."""
    sets = {pool: set(rows) for pool, rows in texts.items()}
    counts = {pool: (len(rows) - len(sets[pool]), len(rows)) for pool, rows in texts.items()}
    for a, b in combinations(texts, 2):
        counts[f"{a} and {b}"] = (len(sets[a] & sets[b]), min(len(sets[a]), len(sets[b])))
    return {where: {"rows": same, "share": same / of} for where, (same, of) in counts.items() if same}


def _contradictions(texts: Mapping[str, Sequence[Key]], labels: Mapping[str, Integers]) -> int:
    """The number of texts with more than one label."""
    seen: dict[Key, set[int]] = {}
    for pool, rows in texts.items():
        for text, label in zip(rows, labels[pool].tolist(), strict=True):
            seen.setdefault(text, set()).add(label)
    return sum(len(every) > 1 for every in seen.values())


def _crossings(tables: Mapping[str, pa.Table]) -> dict[str, int]:
    """Groups (question, passage, pair) with rows in two pools."""
    groups = {pool: set(table.column("group").to_pylist()) for pool, table in tables.items()}
    shared = {f"{a} and {b}": len(groups[a] & groups[b]) for a, b in combinations(groups, 2)}
    return {pair: count for pair, count in shared.items() if count}


def _truncation(tables: Mapping[str, pa.Table], count: Count, most: int) -> dict[str, Any]:
    """The number of texts that a model reads only in part."""
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
