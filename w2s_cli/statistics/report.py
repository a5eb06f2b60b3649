"""The metrics of a run, or of several seeds of one setting. One function serves both: a run is a table with one seed.

* A figure over seeds is the mean of the seeds' figures. Accuracies, their differences, PGR and agreement
  have an interval. Differences and PGR use joint draws of all roles (paired); the interval of an accuracy or
  agreement depends on the predictions that it counts only.
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

from w2s_cli.statistics import ROLES as ROLES
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
from w2s_cli.statistics.threshold import constant_answer, untrained_threshold

DIFFERENCES = (("student", "weak"), ("ceiling", "weak"), ("ceiling", "student"))
GAP_IS_NOISE = "the ceiling does not beat the floor by more than noise: PGR is unbounded"
CEILING_BELOW = "the ceiling is below the floor: PGR has no meaning"


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
    cells = {
        role: (predicted(prediction.p) == truth).astype(np.float64) for role, prediction in predictions.items()
    }  # [seeds, rows]
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
        own = share_interval(cells[role], np.ones_like(cells[role]), confidence, draws)
        metrics[role] = _role(truth, predictions[role]) | {"interval": _listed(own)}
    metrics["differences"] = {
        f"{more}_minus_{less}": {
            "value": mean[more] - mean[less],
            "interval": list(interval(sample[more] - sample[less], confidence)),
        }
        for more, less in DIFFERENCES
        if more in predictions and less in predictions
    }
    if all(role in predictions for role in ROLES):
        metrics["pgr"] = recovered_figures(
            {role: metrics[role]["per_seed"]["accuracy"] for role in ROLES}, sample, confidence
        )
    if "weak" in predictions and "student" in predictions:
        weak_class, student_class = predicted(predictions["weak"].p), predicted(predictions["student"].p)
        agree = (weak_class == student_class).astype(np.float64)
        metrics["agreement"] = _agreement(agree, cells["weak"], confidence, draws)
        metrics["misfit"] = _misfit(truth, predictions["student"], predictions["weak"])
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


def _role(truth: Integers, predictions: Predictions) -> dict[str, Any]:
    per_seed: dict[str, list[Any]] = {
        "accuracy": [accuracy(p, truth) for p in predictions.p],
        "auroc": [auroc(logits, truth) for logits in predictions.logits],
        "ece": [calibration_error(p, truth) for p in predictions.p],
    }
    means: dict[str, Any] = {name: _mean(values) for name, values in per_seed.items()}
    areas = zip(predictions.p, per_seed["auroc"], strict=True)
    flags = [untrained_threshold(p, truth, area) for p, area in areas]
    constant = [constant_answer(p, truth) for p in predictions.p]
    return means | {"per_seed": per_seed | {"untrained_threshold": flags, "constant_answer": constant}}


def recovered_figures(
    per_seed: Mapping[str, list[float]], sample: Mapping[str, Floats], confidence: float
) -> dict[str, Any]:
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
        if bounds is not None and bounds[1] - bounds[0] < 1e-9:
            flags = ["no_width"]  # the student is right on the rows of the weak supervisor, or of the ceiling
    return {
        "value": recovered(weak, student, ceiling),
        "interval": _listed(bounds),
        "per_seed": ratios,
        "mean_of_ratios": _mean([ratio for ratio in ratios if ratio is not None]),
        "flags": flags,
        "note": note,
    }


def _agreement(agree: Floats, weak_right: Floats, confidence: float, draws: int) -> dict[str, Any]:
    """Share of rows on which student and supervisor predict the same class: of all rows, of the rows where the
    supervisor is right, and where it is wrong. Both arguments are [seeds, rows] of 0 and 1.
    """
    wholes = {"overall": np.ones_like(agree), "when_weak_right": weak_right, "when_weak_wrong": 1 - weak_right}
    return {
        name: {
            "value": float((agree * whole).sum() / whole.sum()) if whole.any() else None,
            "interval": _listed(share_interval(agree * whole, whole, confidence, draws)),
        }
        for name, whole in wholes.items()
    }


def _listed(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _misfit(truth: Integers, student: Predictions, weak: Predictions) -> dict[str, float | None]:
    seeds = [misfit(student.logits[s], student.p[s], weak.p[s], truth) for s in range(len(student.p))]
    return {name: _mean([figures[name] for figures in seeds]) for name in seeds[0]}


def _mean(values: list[Any]) -> float | None:
    """Mean over seeds; None if the figure is missing for a seed."""
    return None if not values or None in values else float(np.mean(values))
