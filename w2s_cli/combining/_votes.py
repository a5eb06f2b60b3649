"""From label artifacts to the votes that a rule sees, and figures of what the rule made of them. For stages/combine.py."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.combining import ABSTAINED, Combined, Votes, hard
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import TOLERANCE, Floats, Integers, as_json, predicted
from w2s_cli.store.files import read_json

SURE = 1e-6  # no supervisor is taken to be wrong, or right, less often


def adding_up(p: Floats) -> Floats:
    """Probabilities [rows, classes], read from float32, that add up to 1 in float64; a row of zeros (it has no label) stays one."""
    sums = p.sum(axis=1, keepdims=True)
    return np.asarray(p / np.where(sums > 0, sums, 1.0))


def log_odds(folders: Sequence[Path], supervisors: int, classes: int) -> Floats | None:
    """Log-odds of being right of each supervisor, [supervisors]: `weight`, else log((K−1) a / (1−a)) of `accuracy`."""
    if not folders:
        return None
    if len(folders) != supervisors:
        raise UserError(
            f"combine: {len(folders)} scores for {supervisors} labels; give one score per supervisor, in the same order"
        )
    weights = []
    for folder in folders:
        metrics = (read_json(folder / "manifest.json") or {}).get("metrics", {})
        if metrics.get("weight") is not None:
            weights.append(float(metrics["weight"]))
        elif metrics.get("accuracy") is not None:
            right = min(max(float(metrics["accuracy"]), SURE), 1 - SURE)
            weights.append(math.log((classes - 1) * right / (1 - right)))
        else:
            raise UserError(
                f"{folder}: its metrics have neither weight nor accuracy; scores come from boost or label stages"
            )
    return np.array(weights)


def class_balance(configured: Sequence[float] | None, classes: int) -> Floats | None:
    if configured is None:
        return None
    prior = np.asarray(configured, dtype=np.float64)
    if prior.shape != (classes,) or not (prior >= 0).all() or abs(prior.sum() - 1) > TOLERANCE:
        raise UserError(f"combine.prior={list(configured)} must be {classes} shares of the classes that add up to 1")
    return np.asarray(prior / prior.sum())


def figures(votes: Votes, combined: Combined, truth: Integers) -> dict[str, Any]:
    chosen = hard(votes)  # [supervisors, rows]
    diagnostics = dict(combined.diagnostics)
    estimated = diagnostics.pop("estimated_accuracy", None) or [None] * len(chosen)
    supervisors = [
        {
            "accuracy": _share(votes_of_one == truth, votes_of_one != ABSTAINED),
            "coverage": float((votes_of_one != ABSTAINED).mean()),
            "estimated_accuracy": guess,
            "weight": None if votes.weights is None else float(votes.weights[i]),
        }
        for i, (votes_of_one, guess) in enumerate(zip(chosen, estimated, strict=True))
    ]
    agreements = [[_share(a == b, (a != ABSTAINED) & (b != ABSTAINED)) for b in chosen] for a in chosen]
    pairs = [value for i, row in enumerate(agreements) for value in row[:i] if value is not None]
    metrics: dict[str, Any] = {
        "rows": len(truth),
        "accuracy": _share(predicted(combined.p) == truth, combined.covered),
        "mean_p": [float(mean) for mean in combined.p[combined.covered].mean(axis=0)],
        "coverage": float(combined.covered.mean()),
        "agreement": sum(pairs) / len(pairs) if pairs else None,
        "agreements": agreements,
        "supervisors": supervisors,
        "diagnostics": diagnostics,
    }
    return as_json(metrics)  # type: ignore[no-any-return]


def _share(what: Any, among: Any) -> float | None:
    """Share of the rows `among` that are `what`; None of no rows."""
    return float(what[among].mean()) if among.any() else None
