"""Constant answers: a model that predicts one class on nearly all rows, with the accuracy of that answer.

It has learned nothing that its accuracy shows. With an untrained threshold it orders the rows all the same: its AUROC is away from 0.5,
and a PGR from such accuracies compares thresholds. That is typical of a training with few updates: the order of the rows is learned before
the bias between the classes.
"""

import math

import numpy as np

from w2s_cli.statistics.figures import Floats, Integers, predicted

NEARLY_ALL = 0.95  # share of the rows with one predicted class
SKILL = 0.1  # (accuracy − base rate) / (1 − base rate), above which a model of rare classes is better than a constant answer
AWAY = 0.05  # of AUROC from 0.5
ERRORS = 3  # standard errors of the AUROC of a random order, which |AUROC − 0.5| exceeds too


def untrained_threshold(p: Floats, truth: Integers, area: float | None) -> bool:
    """Whether a model's accuracy is that of a constant answer while its AUROC is away from 0.5.

    Args:
        p: [rows, classes].
        truth: [rows].
        area: AUROC; None if undefined.
    """
    if area is None or not constant_answer(p, truth):
        return False
    rows = len(truth)
    sizes = np.bincount(truth, minlength=p.shape[1])
    rarest = int(sizes[sizes > 0].min())
    error = math.sqrt((rows + 1) / (12 * rarest * (rows - rarest)))  # Mann & Whitney 1947
    return bool(abs(area - 0.5) > max(AWAY, ERRORS * error))


def constant_answer(p: Floats, truth: Integers) -> bool:
    """Whether a model predicts one class on nearly all rows, and is hardly better than that answer; p is [rows, classes], truth [rows]."""
    counts = np.bincount(predicted(p), minlength=p.shape[1])  # [classes]
    answer = int(counts.argmax())
    base = float((truth == answer).mean())
    skill = (float((predicted(p) == truth).mean()) - base) / (1 - base) if base < 1 else 1.0
    return bool(counts[answer] >= NEARLY_ALL * len(truth) and skill <= SKILL)
