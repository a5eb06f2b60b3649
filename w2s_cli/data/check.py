"""Look at a data set before models do: sizes, base rates, duplicates, groups, truncation, and shortcuts.

* Duplicates are equal texts after lower case and single spaces. Between training halves and test they let a model remember instead
  of generalise.
* The shortcut test is a bag-of-words classifier trained on both halves. It knows no meaning; what it gets right on the test rows is
  there without any. Words that only come with one label are named.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from w2s_cli.data import bag_of_words

Z = 1.959964  # 95 %
NEARLY_ALL = 0.95  # baseline accuracy that no task with a meaning has
MANY_DUPLICATES = 0.01  # of the smaller pool
MANY_CUT = 0.05  # of the texts, by the tokens of a model
BASELINE_ROWS = 20_000  # rows of each side that the baseline reads
WORDS_SHOWN = 8
TRAIN = ("weak_train", "strong_train")

Count = Callable[[Sequence[str]], list[int]]  # texts → tokens of each


def check(
    tables: Mapping[str, pa.Table], classes: Sequence[str], tokenizers: Mapping[str, tuple[Count, int]] | None = None
) -> dict[str, Any]:
    """The report on the pools of one data set.

    Args:
        tables: pool → rows (id, group, text, label).
        classes: class names.
        tokenizers: model name → (a function from texts to token counts, the most tokens the model reads).

    Returns:
        pools, duplicates, crossings, truncation, baseline, telltales, and `problems`: what makes results doubtful, in words.
    """
    texts = {pool: [_normal(text) for text in table.column("text").to_pylist()] for pool, table in tables.items()}
    labels = {pool: table.column("label").to_numpy().astype(np.int64) for pool, table in tables.items()}
    report: dict[str, Any] = {
        "classes": list(classes),
        "pools": {pool: _size(labels[pool], len(classes)) for pool in tables},
        "duplicates": _duplicates(texts),
        "contradictions": _contradictions(texts, labels),
        "crossings": _crossings(tables),
        "truncation": {name: _truncation(tables, count, most) for name, (count, most) in (tokenizers or {}).items()},
        "baseline": None,
        "telltales": [],
    }
    train = [pool for pool in TRAIN if pool in tables]
    if train and "test" in tables:
        report["baseline"], report["telltales"] = _baseline(texts, labels, train, len(classes))
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
    for tale in report["telltales"][:WORDS_SHOWN]:
        found.append(
            f'"{tale["words"]}" gives the label away: it stands in {tale["share"]:.1%} of the training rows, and '
            f"{tale['purity']:.1%} of those are {report['classes'][tale['class']]}"
        )
    for model, cut in report["truncation"].items():
        if cut["share"] > MANY_CUT:
            found.append(
                f"{cut['share']:.1%} of the texts are cut at {cut['max_length']:,} tokens for {model}: results may not be meaningful; "
                "raise MODEL.max_length (weak.max_length, strong.max_length) as far as the model can read"
            )
    baseline = report["baseline"]
    if baseline and baseline["interval"][0] > NEARLY_ALL:
        words = ", ".join(f'"{word}"' for word, _, _ in baseline["words"])
        found.append(
            f"words alone reach {baseline['accuracy']:.1%} of the test rows: is the label in the text? Heaviest words: {words}"
        )
    return found


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _size(labels: bag_of_words.Integers, classes: int) -> dict[str, Any]:
    return {"rows": len(labels), "base_rates": [float((labels == number).mean()) for number in range(classes)]}


def _duplicates(texts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Rows whose text stands earlier in the same pool, and rows of a pool's that stand in another; empty where there are none."""
    sets = {pool: set(found) for pool, found in texts.items()}
    counts = {pool: (len(found) - len(sets[pool]), len(found)) for pool, found in texts.items()}
    for one, other in combinations(texts, 2):
        smaller = min(len(sets[one]), len(sets[other]))
        counts[f"{one} and {other}"] = (len(sets[one] & sets[other]), smaller)
    return {where: {"rows": same, "share": same / of} for where, (same, of) in counts.items() if same}


def _contradictions(texts: Mapping[str, Sequence[str]], labels: Mapping[str, bag_of_words.Integers]) -> int:
    """Texts that come with more than one label."""
    seen: dict[str, set[int]] = {}
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
    lengths = np.array([n for table in tables.values() for n in count(table.column("text").to_pylist())])
    cut = int((lengths > most).sum())
    return {
        "max_length": most,
        "rows": cut,
        "share": cut / len(lengths),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }


def _baseline(
    texts: Mapping[str, Sequence[str]], labels: Mapping[str, bag_of_words.Integers], train: Sequence[str], classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Bag-of-words accuracy on the test rows, and tell-tale words of the training rows."""
    each = BASELINE_ROWS // len(train)
    rows = [bag_of_words.features(text) for pool in train for text in texts[pool][:each]]
    y = np.concatenate([labels[pool][:each] for pool in train])
    words = bag_of_words.vocabulary(rows)
    truth = labels["test"][:BASELINE_ROWS]
    counts = np.bincount(truth, minlength=classes)
    baseline: dict[str, Any] = {
        "train_rows": len(y),
        "test_rows": len(truth),
        "chance": float(counts.max() / len(truth)),  # always the test rows' most frequent class
        "words": [],
    }
    if not words:  # no word comes three times: nothing to learn from
        learnt = float(counts[np.bincount(y, minlength=classes).argmax()] / len(truth))
        return {**baseline, "accuracy": learnt, "interval": _wilson(learnt, len(truth))}, []
    x = bag_of_words.matrix(rows, words)
    weights, bias = bag_of_words.fit(x, y, columns=len(words), classes=classes)
    test = bag_of_words.matrix([bag_of_words.features(text) for text in texts["test"][:BASELINE_ROWS]], words)
    accuracy = float(((test.times(weights) + bias).argmax(axis=1) == truth).mean())
    baseline |= {
        "accuracy": accuracy,
        "interval": _wilson(accuracy, len(truth)),
        "words": _heaviest(weights, x, list(words)),
    }
    return baseline, bag_of_words.telltales(x, y, list(words), classes=classes)


def _heaviest(
    weights: bag_of_words.Floats, x: bag_of_words.Matrix, names: Sequence[str]
) -> list[tuple[str, int, float]]:
    """(words, class, weight) of the features that move most: weight against the other classes × size of the feature over all rows."""
    centred = weights - weights.mean(axis=1, keepdims=True)
    strength = centred.max(axis=1) * np.sqrt(np.bincount(x.columns, weights=x.values**2, minlength=len(names)))
    top = np.argsort(-strength, kind="stable")[:WORDS_SHOWN]
    return [(names[column], int(centred[column].argmax()), float(centred[column].max())) for column in top]


def _wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    return centre - half, centre + half
