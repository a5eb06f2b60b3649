"""Labels from words only: a bag-of-words classifier, and tell-tales (words that come with one label only).

* Features are the words and neighbouring word pairs of a text (present or not), in lower case; punctuation marks are words. A leaky
  recipe shows in word pairs such as ": b" or "none of".
* In a row with a pair of texts, words of the second text only count +1, words of the first text only −1 (see `baseline.py`).
* The classifier is softmax regression by accelerated gradient descent in NumPy. Rows have unit length, and rare features weigh more. The
  step size comes from the largest curvature, so nothing is tuned.
* A tell-tale is a feature in at least 2 % of the rows, almost all of one class, and too often to be chance. Words of a task's meaning
  ("boring" in a bad review) are rarer or less pure than leaks of recipes.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

VOCABULARY = 50_000  # most frequent features
READ = 100_000  # characters of a text: a shortcut in a longer one stands near its beginning or is none
RAREST = 3  # fewest rows of a feature
STEPS = 100
POWER_STEPS = 10
PENALTY = 0.1  # weight of the squared weights, divided by the number of rows
TELLTALE_SHARE = 0.02  # of the rows
TELLTALE_IMPURITY = 0.05  # rows of other classes, relative to their share at the base rate
SAME_ROWS = 0.9  # of a tell-tale's rows, in which another one stands too
CHANCE = 0.01  # probability that any feature is a tell-tale by accident


@dataclass(frozen=True)
class Features:
    """The words of one text, or the words in one text only of a pair."""

    plus: Set[str]  # of the text; of a pair: of the second text only
    minus: Set[str] = frozenset()  # of a pair: of the first text only


@dataclass(frozen=True)
class Matrix:
    """Rows of features, sparse: a list of (row, column, value)."""

    rows: Integers  # [nonzeros], ascending
    columns: Integers  # [nonzeros]
    values: Floats  # [nonzeros]; each row has unit length
    count: int  # rows

    def times(self, weights: Floats) -> Floats:
        """[columns, classes] → [rows, classes]."""
        products = [self.values * weights[self.columns, k] for k in range(weights.shape[1])]
        return np.stack([np.bincount(self.rows, weights=p, minlength=self.count) for p in products], axis=1)

    def transposed_times(self, errors: Floats, columns: int) -> Floats:
        """[rows, classes] → [columns, classes]."""
        products = [self.values * errors[self.rows, k] for k in range(errors.shape[1])]
        return np.stack([np.bincount(self.columns, weights=p, minlength=columns) for p in products], axis=1)


def features(text: str) -> set[str]:
    """The words and neighbouring word pairs of a text's first `READ` characters."""
    words = re.findall(r"\w+|[^\w\s]", text[:READ].lower())
    return {*words, *(f"{first} {second}" for first, second in itertools.pairwise(words))}


def vocabulary(rows: Sequence[Set[str]]) -> dict[str, float]:
    """Feature → its weight, log(rows / rows with it) + 1; the most frequent first."""
    counts = Counter(feature for row in rows for feature in row)
    frequent = sorted((-count, feature) for feature, count in counts.items() if count >= RAREST)[:VOCABULARY]
    return {feature: math.log(len(rows) / -count) + 1 for count, feature in frequent}


def matrix(rows: Sequence[Features], weights: dict[str, float]) -> Matrix:
    """The rows' features that have a weight; a feature's column is its place in `weights`."""
    place = {feature: column for column, feature in enumerate(weights)}
    entries = []
    for row in rows:
        signed = [(place[word], 1) for word in row.plus if word in place]
        signed += [(place[word], -1) for word in row.minus if word in place]
        entries.append(sorted(signed))
    lengths = [len(row) for row in entries]
    columns = np.fromiter((column for row in entries for column, _ in row), dtype=np.int64, count=sum(lengths))
    signs = np.fromiter((sign for row in entries for _, sign in row), dtype=np.int64, count=sum(lengths))
    numbers = np.repeat(np.arange(len(rows)), lengths)
    values = signs * np.fromiter(weights.values(), dtype=np.float64, count=len(weights))[columns]
    norms = np.sqrt(np.bincount(numbers, weights=values**2, minlength=len(rows)))
    return Matrix(numbers, columns, values / norms[numbers], len(rows))


def fit(x: Matrix, labels: Integers, *, columns: int, classes: int, bias: bool = True) -> tuple[Floats, Floats]:
    """Weights [columns, classes] and bias [classes] (without `bias`: zeros) of softmax regression, by Nesterov's method."""
    y = np.eye(classes)[labels]  # [rows, classes]
    penalty = PENALTY / len(y)
    step = 1 / (0.5 * _curvature(x, columns) + penalty)
    weights = np.zeros((columns, classes))
    constant = np.log(np.maximum(y.mean(axis=0), 1e-9)) if bias else np.zeros(classes)
    ahead, ahead_constant = weights, constant
    for turn in range(STEPS):
        error = (softmax(x.times(ahead) + ahead_constant) - y) / len(y)  # [rows, classes]
        moved = ahead - step * (x.transposed_times(error, columns) + penalty * ahead)
        moved_constant = ahead_constant - error.sum(axis=0) * bias
        momentum = turn / (turn + 3)
        ahead = moved + momentum * (moved - weights)
        ahead_constant = moved_constant + momentum * (moved_constant - constant)
        weights, constant = moved, moved_constant
    return weights, constant


def _curvature(x: Matrix, columns: int) -> float:
    """Largest eigenvalue of XᵀX / rows, by power iteration, a tenth up for what is missing."""
    vector = np.ones((columns, 1)) / math.sqrt(columns)
    size = 1.0
    for _ in range(POWER_STEPS):
        image = x.transposed_times(x.times(vector), columns) / x.count
        size = float(np.linalg.norm(image))
        vector = image / size
    return 1.1 * size


def softmax(logits: Floats) -> Floats:
    """Probabilities [rows, classes]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def telltales(x: Matrix, labels: Integers, names: Sequence[str], *, classes: int) -> list[dict[str, Any]]:
    """Features that give a label away: {words, class, share of rows, purity}, the most frequent first.

    Of pairs the class is that of the text in which the feature stands alone: 1 the better, 0 the worse.
    """
    counts = np.zeros((len(names), classes))  # rows with the feature, by class
    spoken = np.where(
        x.values > 0, labels[x.rows], 1 - labels[x.rows]
    )  # of pairs: whether it stands in the better text
    np.add.at(counts, (x.columns, spoken), 1)
    signed = bool((x.values < 0).any())  # pairs: a word of the better text only is one of the worse text only as easily
    base = np.full(classes, 1 / classes) if signed else np.bincount(labels, minlength=classes) / len(labels)
    total = counts.sum(axis=1)
    tales: list[dict[str, Any]] = []
    for column in np.flatnonzero(total >= TELLTALE_SHARE * len(labels)).tolist():
        label = int(counts[column].argmax())
        purity = float(counts[column, label] / total[column])
        allowed = TELLTALE_IMPURITY * (1 - base[label])
        if 1 - purity <= allowed and total[column] * divergence(purity, base[label]) > math.log(len(names) / CHANCE):
            share = float(total[column] / len(labels))
            tales.append({"words": names[column], "class": label, "share": share, "purity": purity})
    places = {name: column for column, name in enumerate(names)}
    ordered = sorted(tales, key=lambda tale: (-tale["share"], tale["words"]))
    return _distinct(ordered, [set(x.rows[x.columns == places[tale["words"]]].tolist()) for tale in ordered])


def _distinct(tales: Sequence[dict[str, Any]], rows: Sequence[set[int]]) -> list[dict[str, Any]]:
    """The tales without the further words of one shortcut: those in the same `rows` as an earlier tale of their class."""
    kept: list[int] = []
    for place, tale in enumerate(tales):
        alike = (rows[other] for other in kept if tales[other]["class"] == tale["class"])
        if all(len(rows[place] & others) < SAME_ROWS * len(rows[place]) for others in alike):
            kept.append(place)
    return [tales[place] for place in kept]


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two coins: n times it bounds −log of the probability of a share p where q is true."""
    parts = ((a, b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)
    return sum(a * math.log(a / b) for a, b in parts)
