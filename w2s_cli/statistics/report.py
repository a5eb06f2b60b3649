"""The metrics of a run, or of several seeds of one setting. One function serves both: a run is a table with one seed.

* A figure over seeds is the mean of the seeds' figures. Accuracies, their differences, PGR and agreement
  have an interval. Comparisons of roles use joint draws of all roles (paired); the interval of a role's
  accuracy depends on this role's predictions only.
* PGR is the ratio of the means. The report also has the mean of per-seed ratios, which a small gap in one
  seed can spoil.
* A role may be missing (no weak supervisor with imported labels, no ceiling in a method without one). Then
  the figures that need this role are missing too.
* The result is JSON: no NaN, no infinity (None), and 10 decimals, so that the last bits of a sum do not
  reach the checksum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_cli.statistics.figures import (
    Booleans,
    Floats,
    Integers,
    accuracy,
    as_json,
    auroc,
    calibration_error,
    misfit,
    predicted,
    recovered,
)
from w2s_cli.statistics.intervals import bootstrap_means, interval, ratio_interval, share_interval
from w2s_cli.statistics.planning import noise
from w2s_cli.statistics.pseudolabels import pseudolabels

ROLES = ("weak", "student", "ceiling")
DIFFERENCES = (("student", "weak"), ("ceiling", "weak"), ("ceiling", "student"))
GAP_IS_NOISE = "the ceiling does not beat the weak supervisor by more than its own noise: PGR is unbounded"
CEILING_BELOW = "the ceiling is below the weak supervisor: PGR has no meaning"


@dataclass(frozen=True)
class Predictions:
    """The predictions of one role on the test rows, one table per seed."""

    p: Floats  # [seeds, rows, classes]
    logits: Floats  # [seeds, rows, classes]
    covered: Booleans | None = None  # [seeds, rows], rows with a prediction; None: all


def report(
    truth: Integers, predictions: Mapping[str, Predictions], *, draws: int, confidence: float, redrawn: bool = False
) -> dict[str, Any]:
    """Metrics of the roles in `predictions`; all roles have the same test rows in the same order.

    Args:
        truth: [rows], classes of the test rows.
        predictions: role → its predictions.
        draws: of the bootstrap.
        confidence: of the intervals, 0.95 for 95 %.
        redrawn: each seed drew its own training rows.

    Returns:
        rows, classes, seeds, confidence, majority (share of the largest class), noise (the sources of the intervals' noise), a
        block per role, differences, pgr, agreement, misfit, pseudolabels.
    """
    seeds, rows, classes = next(iter(predictions.values())).p.shape
    cells = _cells(truth, predictions)
    moved = bootstrap_means(np.stack(list(cells.values()), axis=-1), draws)
    sample = dict(zip(cells, moved.T, strict=True))  # column → [draws]
    mean = {name: float(cell.mean()) for name, cell in cells.items()}
    metrics: dict[str, Any] = {
        "rows": rows,
        "classes": classes,
        "seeds": seeds,
        "confidence": confidence,
        "majority": float(np.bincount(truth).max() / rows),
        "noise": noise(seeds, redrawn=redrawn),
    }
    for role in predictions:
        own = share_interval(cells[role], confidence, draws)
        metrics[role] = _role(truth, predictions[role]) | {"interval": list(own)}
    metrics["differences"] = {
        f"{more}_minus_{less}": {
            "value": mean[more] - mean[less],
            "interval": list(interval(sample[more] - sample[less], confidence)),
        }
        for more, less in DIFFERENCES
        if more in predictions and less in predictions
    }
    if all(role in predictions for role in ROLES):
        metrics["pgr"] = _pgr({role: metrics[role]["per_seed"]["accuracy"] for role in ROLES}, sample, confidence)
    if "weak" in predictions and "student" in predictions:
        metrics["agreement"] = _agreement(mean, sample, confidence)
        metrics["misfit"] = _misfit(truth, predictions["student"], predictions["weak"])
        weak_class, student_class = predicted(predictions["weak"].p), predicted(predictions["student"].p)
        metrics["pseudolabels"] = pseudolabels(
            truth,
            weak_class,
            student_class,
            predictions["weak"].covered,
            classes=classes,
            draws=draws,
            confidence=confidence,
        )
    plain: dict[str, Any] = as_json(metrics)
    return plain


def _cells(truth: Integers, predictions: Mapping[str, Predictions]) -> dict[str, Floats]:
    """The columns of the bootstrap, each [seeds, rows] of 0 and 1."""
    classes = {role: predicted(by_role.p) for role, by_role in predictions.items()}
    cells = {role: (classes[role] == truth).astype(np.float64) for role in predictions}
    if "weak" in predictions and "student" in predictions:
        agree = (classes["weak"] == classes["student"]).astype(np.float64)
        cells["agree"] = agree
        cells["agree_right"] = agree * cells["weak"]
        cells["agree_wrong"] = agree * (1 - cells["weak"])
        cells["weak_wrong"] = 1 - cells["weak"]
    return cells


def _role(truth: Integers, predictions: Predictions) -> dict[str, Any]:
    per_seed: dict[str, list[Any]] = {
        "accuracy": [accuracy(p, truth) for p in predictions.p],
        "auroc": [auroc(logits, truth) for logits in predictions.logits],
        "ece": [calibration_error(p, truth) for p in predictions.p],
    }
    means: dict[str, Any] = {name: _mean(values) for name, values in per_seed.items()}
    return means | {"per_seed": per_seed}


def _pgr(per_seed: Mapping[str, list[float]], sample: Mapping[str, Floats], confidence: float) -> dict[str, Any]:
    """PGR of the means over seeds; in `per_seed` the baselines are each seed's own weak supervisor and
    ceiling.
    """
    weak, student, ceiling = (float(np.mean(per_seed[role])) for role in ROLES)
    ratios = [recovered(*three) for three in zip(*(per_seed[role] for role in ROLES), strict=True)]
    low, high = interval(sample["ceiling"] - sample["weak"], confidence)
    flags, note, bounds = [], None, None
    if high < 0:
        flags, note = ["ceiling_below_weak"], CEILING_BELOW
    elif low <= 0:
        flags, note = ["gap_is_noise"], GAP_IS_NOISE
    else:
        bounds = ratio_interval(sample["student"] - sample["weak"], sample["ceiling"] - sample["weak"], confidence)
    return {
        "value": recovered(weak, student, ceiling),
        "interval": None if bounds is None else list(bounds),
        "per_seed": ratios,
        "mean_of_ratios": _mean([ratio for ratio in ratios if ratio is not None]),
        "flags": flags,
        "note": note,
    }


def _agreement(mean: Mapping[str, float], sample: Mapping[str, Floats], confidence: float) -> dict[str, Any]:
    """Share of rows on which student and supervisor predict the same class: of all rows, of the rows where the
    supervisor is right, and where it is wrong.
    """
    parts = {"when_weak_right": ("agree_right", "weak"), "when_weak_wrong": ("agree_wrong", "weak_wrong")}
    agreement: dict[str, Any] = {
        "overall": {"value": mean["agree"], "interval": _share(interval(sample["agree"], confidence))}
    }
    for name, (part, whole) in parts.items():
        bounds = ratio_interval(sample[part], sample[whole], confidence) if mean[whole] else None
        agreement[name] = {
            "value": mean[part] / mean[whole] if mean[whole] else None,
            "interval": None if bounds is None else _share(bounds),
        }
    return agreement


def _share(bounds: tuple[float, float]) -> list[float]:
    """Bounds of a share, cut to 0 … 1: a normal approximation may exceed them."""
    return [min(max(bound, 0.0), 1.0) for bound in bounds]


def _misfit(truth: Integers, student: Predictions, weak: Predictions) -> dict[str, float | None]:
    seeds = [misfit(student.logits[s], student.p[s], weak.p[s], truth) for s in range(len(student.p))]
    return {name: _mean([figures[name] for figures in seeds]) for name in seeds[0]}


def _mean(values: list[Any]) -> float | None:
    """Mean over seeds; None if the figure is missing for a seed."""
    return None if not values or None in values else float(np.mean(values))
