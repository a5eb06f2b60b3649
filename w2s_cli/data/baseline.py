"""A bag-of-words baseline: the accuracy from words only, trained on the training pools and scored on the test rows.

* For single texts: softmax regression on the words and word pairs of a text.
* For pairs: the same on the words of the second text only (+1) and of the first text only (−1), without a bias. Words of both texts, such
  as the prompt, cancel; the reverse pair has the reverse answer. A word's class says whether its text is the better or the worse.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from w2s_cli.data import bag_of_words

Z = 1.959964  # 95 %
ROWS = 20_000  # of training, and of test
WORDS_SHOWN = 8
PAIR = ("worse", "better")  # the classes of words in pairs
Texts = Mapping[str, Sequence[Sequence[str]]]  # pool → texts, and for pairs the second texts


def baseline(
    texts: Texts, labels: Mapping[str, bag_of_words.Integers], train: Sequence[str], classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Bag-of-words accuracy on the test rows, and tell-tale words of the training rows.

    Args:
        texts: pool → one list of texts, or two of the same length for pairs.
        labels: pool → class numbers [rows]; for pairs 1 if the second text is the better.
        train: the training pools; scores are on the pool "test".
        classes: their number.

    Returns:
        ({train_rows, test_rows, chance, accuracy, interval (95 %), words}, tell-tales as `bag_of_words.telltales` gives them).
    """
    each = ROWS // len(train)
    rows = [row for pool in train for row in _features([column[:each] for column in texts[pool]])]
    y = np.concatenate([labels[pool][:each] for pool in train])
    pairs = len(texts["test"]) > 1
    words = bag_of_words.vocabulary([{*row.plus, *row.minus} for row in rows])
    truth = labels["test"][:ROWS]
    counts = np.bincount(truth, minlength=classes)
    figures: dict[str, Any] = {
        "train_rows": len(y),
        "test_rows": len(truth),
        "chance": float(counts.max() / len(truth)),  # always predict the test rows' most frequent class
        "words": [],
    }
    if not words:  # no word is in three rows: nothing to learn from
        learnt = float(counts[np.bincount(y, minlength=classes).argmax()] / len(truth))
        return {**figures, "accuracy": learnt, "interval": wilson(learnt, len(truth))}, []
    x = bag_of_words.matrix(rows, words)
    weights, bias = bag_of_words.fit(x, y, columns=len(words), classes=classes, bias=not pairs)
    test = bag_of_words.matrix(_features([column[:ROWS] for column in texts["test"]]), words)
    accuracy = float(((test.times(weights) + bias).argmax(axis=1) == truth).mean())
    figures |= {
        "accuracy": accuracy,
        "interval": wilson(accuracy, len(truth)),
        "words": _heaviest(weights, x, list(words)),
    }
    return figures, bag_of_words.telltales(x, y, list(words), classes=classes)


def _features(columns: Sequence[Sequence[str]]) -> list[bag_of_words.Features]:
    """The features of each row: its words, or for pairs the words of the second text only and of the first text only."""
    read = [[bag_of_words.features(text) for text in column] for column in columns]
    if len(read) == 1:
        return [bag_of_words.Features(words) for words in read[0]]
    return [bag_of_words.Features(second - first, first - second) for first, second in zip(*read, strict=True)]


def _heaviest(
    weights: bag_of_words.Floats, x: bag_of_words.Matrix, names: Sequence[str]
) -> list[tuple[str, int, float]]:
    """(words, class, weight) of the strongest features: weight against the other classes × size of the feature over all rows."""
    centred = weights - weights.mean(axis=1, keepdims=True)
    strength = centred.max(axis=1) * np.sqrt(np.bincount(x.columns, weights=x.values**2, minlength=len(names)))
    top = np.argsort(-strength, kind="stable")[:WORDS_SHOWN]
    return [(names[column], int(centred[column].argmax()), float(centred[column].max())) for column in top]


def wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    return centre - half, centre + half
