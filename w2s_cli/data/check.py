"""Checks of a data set before any training: sizes, base rates, duplicates, groups, truncation, and shortcuts.

* Duplicates are texts that are equal in lower case and with single spaces; a pair and its reverse are duplicates too. Between pools,
  rows are counted, not texts: the share of the test rows that stand in training is what a model may remember instead of generalise.
* Base rates of training and test differ beyond noise if they differ by more than `SHIFT` and by three standard errors. Rows of a group
  are not independent, so the errors are those of as many rows as there are groups.
* A pair counts as cut if one of its texts is cut.
* The shortcut test is a bag-of-words classifier trained on both halves (`baseline.py`). It knows no meaning, so its accuracy on the
  test rows needs no meaning. Words that come with one label only are listed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from w2s_cli.data.bag_of_words import Integers
from w2s_cli.data.baseline import PAIR, baseline
from w2s_cli.data.form import normalised, text_key
from w2s_cli.data.pools import KEEPS_TEXT
from w2s_cli.data.recipes import CHANCE_ERRORS

NEARLY_ALL = 0.95  # baseline accuracy above that of any task about meaning
MANY_DUPLICATES = 0.01  # of the rows of a pool
HANDFUL = 5  # rows of a class in a pool
SHIFT = 0.05  # of a base rate between training and test
UNLIMITED = 2**31  # tokens: of a model without a limit of its own
MEASURED = 1_000_000  # characters of a text whose tokens are counted; no model here reads as many
MANY_CUT = 0.05  # of the texts, by the tokens of a model
TELLTALES_SHOWN = 8
TRAIN = ("weak_train", "strong_train")

TRAINING = "the training pools"

Count = Callable[[Sequence[str]], list[int]]  # texts → tokens of each


class Reader(NamedTuple):
    """How a model reads texts."""

    tokens: Count
    max_length: int  # tokens of a text, as configured and as far as the model can
    limit: int = UNLIMITED  # tokens that the model itself can read


def check(
    tables: Mapping[str, pa.Table],
    classes: Sequence[str],
    readers: Mapping[str, Reader] | None = None,
    *,
    text_columns: Sequence[str] = ("text",),
    own_test: bool = False,
) -> dict[str, Any]:
    """The report on the pools of one data set.

    Args:
        tables: pool → rows (id, group, text, label; for pairs also second; of problems without labels no label).
        classes: class names; none of problems without labels.
        readers: model name → how it reads texts.
        text_columns: the columns of the source that make a text.
        own_test: the test rows are a split of the source.

    Returns:
        pools, duplicates, crossings, truncation, baseline, telltales, and `problems`: reasons to doubt results, in words.
    """
    texts = {pool: _columns(table) for pool, table in tables.items()}
    labels = {pool: _labels(table) for pool, table in tables.items()}
    keys = {pool: [text_key(*row) for row in zip(*columns, strict=True)] for pool, columns in texts.items()}
    order = {pool: _turned(*columns) for pool, columns in texts.items()}
    pairs = any(len(columns) > 1 for columns in texts.values())
    report: dict[str, Any] = {
        "classes": list(classes),
        "text_columns": list(text_columns),
        "own_test": own_test,
        "pools": {pool: _size(labels[pool], len(classes)) for pool in tables},
        "duplicates": _duplicates(keys),
        "contradictions": _contradictions(keys, {pool: labels[pool] ^ order[pool] for pool in tables}),
        "crossings": _crossings(tables),
        "shift": _shift(tables, labels, len(classes)),
        "truncation": {name: _truncation(tables, reader) for name, reader in (readers or {}).items()},
        "word_classes": list(PAIR if pairs else classes),  # the classes that words can indicate
        "baseline": None,
        "telltales": [],
    }
    train = [pool for pool in TRAIN if pool in tables]
    if train and "test" in tables and classes:
        report["baseline"], report["telltales"] = baseline(texts, labels, train, len(classes))
    report["problems"] = problems(report)
    return report


def problems(report: Mapping[str, Any]) -> list[str]:
    """The reasons in a report to doubt results."""
    reasons = [*_overlaps(report), *_class_sizes(report)]
    for tale in report["telltales"][:TELLTALES_SHOWN]:
        reasons.append(
            f'"{tale["words"]}" gives the label away: it stands in {tale["share"]:.1%} of the training rows, and '
            f"{tale['purity']:.1%} of those are {report['word_classes'][tale['class']]}"
        )
    for model, cut in report["truncation"].items():
        if cut["share"] > MANY_CUT:
            reasons.append(
                f"{cut['share']:.1%} of the texts are cut at {cut['max_length']:,} tokens for {model}: results may not be meaningful; "
                + _more_tokens(model, cut)
            )
    reached = report["baseline"]
    if reached and reached["interval"][0] > NEARLY_ALL:
        words = ", ".join(f'"{word}"' for word, _, _ in reached["words"])
        reasons.append(
            f"words alone reach {reached['accuracy']:.1%} of the test rows: is the label in the text? Heaviest words: {words}"
        )
    return reasons


def _overlaps(report: Mapping[str, Any]) -> list[str]:
    """Groups in two training pools, and many rows of a pool whose text another pool has; for test all training pools together."""
    reasons = []
    for pair, count in report["crossings"].items():
        # a test split of the data set's own may share questions: reported, but no problem
        if "test" not in pair.split(" and "):
            reasons.append(f"{count} groups have rows in both {pair}")
    for where, same in report["duplicates"].items():
        whose, _, other = where.partition(" in ")
        if other and same["share"] > MANY_DUPLICATES and (whose != "test" or other == TRAINING):
            reasons.append(
                f"{same['rows']:,} rows of {whose} ({same['share']:.1%}) have a text that stands in {other} too: {_cure(whose, report)}"
            )
    return reasons


def _cure(pool: str, report: Mapping[str, Any]) -> str:
    """What keeps a text in one pool: a group of equal texts, where the pool is dealt from the same split as the others."""
    drops = "data.drop_overlap=true leaves such rows out of all pools but one"
    if pool == "test" and report["own_test"]:
        return drops
    return f"data.group=[{','.join(report['text_columns'])}] deals rows of one text to one pool; {drops}"


def _class_sizes(report: Mapping[str, Any]) -> list[str]:
    """Classes with too few rows to learn or to measure, and a base rate that differs between training and test."""
    reasons = []
    for pool, size in report["pools"].items():
        for name, rate in zip(report["classes"], size["base_rates"], strict=True):
            rows = round(rate * size["rows"])
            if rows < HANDFUL:
                count = f"only {rows}" if rows else "no"
                reasons.append(
                    f"class {name} has {count} row{'s' * (rows != 1)} in {pool}: leave the class out, or add rows of it"
                )
    if shift := report["shift"]:
        reasons.append(
            f"{shift['test']:.1%} of the test rows are {report['classes'][shift['class']]}, but {shift['training']:.1%} of the training "
            "rows: are the splits drawn alike? data.balanced=true makes the classes alike in every pool"
        )
    return reasons


def _more_tokens(model: str, cut: Mapping[str, Any]) -> str:
    """What helps a model that reads texts only in part."""
    if cut["max_length"] >= cut["limit"]:
        return f"{model} reads no more, so take a model with a longer context, or shorter texts"
    end = "" if cut["limit"] >= UNLIMITED else f", up to the model's {cut['limit']:,}"
    return f"raise MODEL.max_length (weak.max_length, strong.max_length){end}"


def _labels(table: pa.Table) -> Integers:
    """Class numbers [rows]; zeros for problems without labels."""
    if "label" not in table.column_names:
        return np.zeros(len(table), dtype=np.int64)
    return np.asarray(table.column("label").to_numpy(), dtype=np.int64)


def _columns(table: pa.Table) -> list[list[str]]:
    """The normalised texts, and for pairs the normalised second texts."""
    names = [name for name in ("text", "second") if name in table.column_names]
    return [[normalised(text) for text in table.column(name).to_pylist()] for name in names]


def _turned(first: Sequence[str], second: Sequence[str] = ()) -> Integers:
    """1 where the second text of a pair is alphabetically first: there the label must be turned round to compare it with duplicates."""
    return np.array([int(b < a) for a, b in zip(first, second or first, strict=True)], dtype=np.int64)


def _size(labels: Integers, classes: int) -> dict[str, Any]:
    return {"rows": len(labels), "base_rates": [float((labels == number).mean()) for number in range(classes)]}


def _duplicates(texts: Mapping[str, Sequence[bytes]]) -> dict[str, dict[str, float]]:
    """Rows that repeat an earlier text of their pool, and rows with a text of another pool; without entries for no such rows.

    Of two pools, the rows of the one that keeps a text (`KEEPS_TEXT`) are counted: "test in weak_train" are test rows.
    """
    sets = {pool: set(rows) for pool, rows in texts.items()}
    counts = {pool: len(rows) - len(sets[pool]) for pool, rows in texts.items()}
    pools = [pool for pool in KEEPS_TEXT if pool in texts]
    for pool, other in combinations(pools, 2):
        counts[f"{pool} in {other}"] = sum(key in sets[other] for key in texts[pool])
    if "test" in texts:
        training = set[bytes]().union(*(sets[pool] for pool in pools if pool != "test"))
        counts[f"test in {TRAINING}"] = sum(key in training for key in texts["test"])
    return {
        where: {"rows": rows, "share": rows / len(texts[where.partition(" in ")[0]])}
        for where, rows in counts.items()
        if rows
    }


def _contradictions(texts: Mapping[str, Sequence[bytes]], labels: Mapping[str, Integers]) -> int:
    """The number of texts with more than one label."""
    seen: dict[bytes, set[int]] = {}
    for pool, rows in texts.items():
        for text, label in zip(rows, labels[pool].tolist(), strict=True):
            seen.setdefault(text, set()).add(label)
    return sum(len(every) > 1 for every in seen.values())


def _crossings(tables: Mapping[str, pa.Table]) -> dict[str, int]:
    """Groups (question, passage, pair) with rows in two pools."""
    groups = {pool: set(table.column("group").to_pylist()) for pool, table in tables.items()}
    shared = {f"{a} and {b}": len(groups[a] & groups[b]) for a, b in combinations(groups, 2)}
    return {pair: count for pair, count in shared.items() if count}


def _shift(tables: Mapping[str, pa.Table], labels: Mapping[str, Integers], classes: int) -> dict[str, Any] | None:
    """{class, test, training: its base rates}, for the class with the largest difference beyond noise; None without such a class."""
    training = [pool for pool in tables if pool != "test"]
    if "test" not in tables or not training:
        return None
    sides = [labels["test"], np.concatenate([labels[pool] for pool in training])]
    independent = [
        len({group for pool in pools for group in tables[pool].column("group").to_pylist()})
        for pools in (["test"], training)
    ]
    shares = []
    for number in range(classes):
        test, train = (float((side == number).mean()) for side in sides)
        error = math.sqrt(sum(rate * (1 - rate) / n for rate, n in zip((test, train), independent, strict=True)))
        if abs(test - train) > max(SHIFT, CHANCE_ERRORS * error):
            shares.append({"class": number, "test": test, "training": train})
    return max(shares, key=lambda one: (abs(one["test"] - one["training"]), one["class"]), default=None)


def _truncation(tables: Mapping[str, pa.Table], reader: Reader) -> dict[str, Any]:
    """The number of texts that a model reads only in part."""
    columns = [
        table.column(name) for table in tables.values() for name in ("text", "second") if name in table.column_names
    ]
    lengths = np.array([n for column in columns for n in reader.tokens([t[:MEASURED] for t in column.to_pylist()])])
    cut = int((lengths > reader.max_length).sum())
    return {
        "max_length": reader.max_length,
        "limit": reader.limit,
        "rows": cut,
        "share": cut / len(lengths),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }
