"""The figures of one model and of a student with its weak supervisor, in float64.

* A predicted class is the argmax of the probabilities; a tie goes to the lower class.
* An undefined figure (AUROC of one class, agreement on no rows, PGR over a gap of 0) is None, never a
  substitute like 0.5.
* PGR is not clipped: it is negative for a student below its supervisor, and above 1 for a student above the
  ceiling.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

ECE_BINS = 15
SMALLEST = 1e-7  # probability in the place of 0 in a logarithm
TOLERANCE = 1e-3  # allowed error of a sum of probabilities


def predicted(p: Floats) -> Integers:
    """Class of each row, [..., classes] → [...]."""
    return np.asarray(np.argmax(p, axis=-1), dtype=np.int64)


def accuracy(p: Floats, truth: Integers) -> float:
    """Share of rows [rows, classes] whose predicted class is `truth` [rows]."""
    return float(np.mean(predicted(p) == truth))


def auroc(logits: Floats, truth: Integers) -> float | None:
    """Area under the ROC curve of the margin, ties by mid-ranks; None if a class has no rows, or all rows.

    The margin of a class is its logit minus the largest other logit. For two classes that is the difference
    of the logits, which orders even rows whose probabilities are 1 in float32. More than two classes: the
    mean over classes of the area of one class against the rest.

    Args:
        logits: [rows, classes]; or log probabilities (−inf is allowed).
        truth: [rows].
    """
    rows, classes = logits.shape
    areas = []
    for c in range(1 if classes == 2 else 0, classes):  # with two classes the second area equals the first
        positive = truth == c
        ones = int(positive.sum())
        if ones in (0, rows):
            return None
        margin = logits[:, c] - np.delete(logits, c, axis=1).max(axis=1)
        _, place, count = np.unique(margin, return_inverse=True, return_counts=True)
        rank = (np.cumsum(count) - (count - 1) / 2)[place]  # mid-ranks, from 1
        areas.append((rank[positive].sum() - ones * (ones + 1) / 2) / (ones * (rows - ones)))
    return float(np.mean(areas))


def calibration_error(p: Floats, truth: Integers) -> float:
    """Expected calibration error of the predicted class: Σ_b |right_b − confidence_b| · rows_b / rows.

    `ECE_BINS` equal-width bins, closed on the right (Guo et al. 2017, eq. 3). Biased upwards on few rows.

    Args:
        p: [rows, classes].
        truth: [rows].
    """
    confidence = p.max(axis=1)
    place = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    surplus = np.bincount(place, weights=(predicted(p) == truth) - confidence, minlength=ECE_BINS)
    return float(np.abs(surplus).sum() / len(truth))


def misfit(student_logits: Floats, student_p: Floats, weak_p: Floats, truth: Integers) -> dict[str, float]:
    """The student's distance from its supervisor, and its gain, as in Charikar et al. 2024.

    "Quantifying the Gain in Weak-to-Strong Generalization", theorem 1: where the student is the best fit of
    a convex class, the gain (supervisor's squared error minus student's) is at least the misfit. Squared
    distances of probability vectors, summed over classes; the truth is a one-hot vector, so the errors are
    Brier scores.

    Args:
        student_logits, student_p, weak_p: [rows, classes].
        truth: [rows].

    Returns:
        squared (the misfit), gain, and cross_entropy = mean −Σ_c weak_c log student_c, which naive training
        minimises.
    """
    one_hot = np.eye(weak_p.shape[1])[truth]  # [rows, classes]

    def squared(a: Floats, b: Floats) -> float:
        return float(np.mean(((a - b) ** 2).sum(axis=1)))

    return {
        "squared": squared(student_p, weak_p),
        "gain": squared(weak_p, one_hot) - squared(student_p, one_hot),
        "cross_entropy": soft_cross_entropy(student_logits, weak_p),
    }


def soft_cross_entropy(logits: Floats, p: Floats) -> float:
    """Mean over rows of −Σ_c p_c log softmax(logits)_c, in nats; both [rows, classes]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_softmax = np.maximum(
        log_softmax, np.log(np.finfo(np.float32).tiny)
    )  # probability 0 (imported labels) costs 87, not infinity
    return float(np.mean(-(p * log_softmax).sum(axis=1)))


def recovered(weak: float, student: float, ceiling: float) -> float | None:
    """PGR, (student − weak) / (ceiling − weak) (Burns et al. 2023, section 3); None over a gap of 0.

    Means over seeds have rounding errors, so a gap below that of one row in a billion counts as 0.
    """
    return None if abs(ceiling - weak) < 1e-9 else (student - weak) / (ceiling - weak)


def median_recovered(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Median PGR over pairs of models, by the exclusion rule of the paper's notebook (openai/weak-to-strong,
    Plotting.ipynb).

    Excluded: a model paired with itself, and pairs whose ceiling does not beat the weak supervisor. The
    notebook takes means over seeds for weak and ceiling, and one student per run: pass one mapping per run,
    with those means.

    Args:
        pairs: mappings with weak_model, strong_model (names) and weak, student, ceiling (accuracies).

    Returns:
        median (None if no pair remains), kept (the number of pairs in the median), same_model and
        ceiling_not_above_weak (the numbers of excluded pairs).
    """
    ratios, same, below = [], 0, 0
    for pair in pairs:
        ratio = recovered(pair["weak"], pair["student"], pair["ceiling"])
        if pair["weak_model"] == pair["strong_model"]:
            same += 1
        elif ratio is None or pair["ceiling"] <= pair["weak"]:
            below += 1
        else:
            ratios.append(ratio)
    median = float(np.median(ratios)) if ratios else None
    return {"median": median, "kept": len(ratios), "same_model": same, "ceiling_not_above_weak": below}


def log_p(p: Floats) -> Floats:
    """Logits of labels without a model: log p, with SMALLEST in the place of 0."""
    return np.asarray(np.log(np.maximum(p, SMALLEST)))


def as_json(value: Any) -> Any:
    """`value` (plain or NumPy) as JSON: 10 decimals, so that last bits do not reach the checksum; None for values that are not finite."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float):
        return round(value, 10) if math.isfinite(value) else None
    return value
