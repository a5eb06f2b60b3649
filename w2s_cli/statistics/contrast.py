"""Two results on the same test rows, role by role: the difference of their accuracies and PGR, with a paired interval.

* Rows are joined by id; one bootstrap draw moves both results together, so what the rows have in common cancels.
* Seeds are paired where both have the same ones; else each result is averaged over its seeds first, and the interval holds test-row noise
  only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from w2s_cli.statistics.figures import Floats, Integers, predicted, recovered
from w2s_cli.statistics.intervals import bootstrap_means, interval
from w2s_cli.statistics.report import ROLES, Predictions

Run = tuple[Sequence[str], Integers, Mapping[str, Predictions]]  # row ids, true classes [rows], predictions by role


def contrast(a: Run, b: Run, *, same_seeds: bool, draws: int = 2000, confidence: float = 0.95) -> dict[str, Any] | None:
    """Differences b − a of the roles that both have.

    Args:
        a, b: the runs of one setting each, with a seed for each run.
        same_seeds: `a` and `b` have the same seeds in the same order.

    Returns:
        None where the test rows differ. Else rows, noise, and per role (and for pgr) a, b, difference, interval (None where
        PGR's gap may be nothing).
    """
    ids, truth, roles_a = a
    other_ids, other_truth, roles_b = b
    if set(ids) != set(other_ids):
        return None
    place = {row: position for position, row in enumerate(other_ids)}
    order = np.array([place[row] for row in ids])
    if (other_truth[order] != truth).any():
        return None
    roles = [role for role in ROLES if role in roles_a and role in roles_b]
    right: list[Floats] = [
        (predicted(roles_a[role].p) == truth).astype(np.float64) for role in roles
    ]  # each [seeds, rows]
    right += [(predicted(roles_b[role].p)[:, order] == truth).astype(np.float64) for role in roles]
    paired = same_seeds and len(right[0]) == len(right[-1]) > 1
    if not paired:
        right = [one.mean(axis=0, keepdims=True) for one in right]
    cells = np.stack(right, axis=-1)  # [seeds or 1, rows, columns]
    moved = bootstrap_means(cells, draws)
    sample = {(side, role): moved[:, len(roles) * side + i] for side in (0, 1) for i, role in enumerate(roles)}
    mean = {at: float(cells[..., len(roles) * at[0] + roles.index(at[1])].mean()) for at in sample}
    contrasts: dict[str, Any] = {"rows": len(ids), "noise": "seeds and test rows" if paired else "test rows only"}
    for role in roles:
        contrasts[role] = {
            "a": mean[0, role],
            "b": mean[1, role],
            "difference": mean[1, role] - mean[0, role],
            "interval": _bounds(sample[1, role] - sample[0, role], confidence),
        }
    if len(roles) == len(ROLES):
        contrasts["pgr"] = _pgr(mean, sample, confidence)
    return contrasts


def _bounds(draws: Floats, confidence: float) -> list[float]:
    """The interval in 10 decimals, so that equal predictions differ by 0 and not by rounding."""
    return [round(bound, 10) + 0.0 for bound in interval(draws, confidence)]


def _pgr(
    mean: dict[tuple[int, str], float], sample: dict[tuple[int, str], Floats], confidence: float
) -> dict[str, Any]:
    values = [recovered(*(mean[side, role] for role in ROLES)) for side in (0, 1)]
    difference = None if None in values else values[1] - values[0]  # type: ignore[operator]
    gaps = [sample[side, "ceiling"] - sample[side, "weak"] for side in (0, 1)]
    bounds = None
    if difference is not None and all(interval(gap, confidence)[0] > 0 for gap in gaps):
        kept = (gaps[0] > 0) & (gaps[1] > 0)
        ratios = [(sample[side, "student"] - sample[side, "weak"])[kept] / gaps[side][kept] for side in (0, 1)]
        bounds = _bounds(ratios[1] - ratios[0], confidence)
    return {"a": values[0], "b": values[1], "difference": difference, "interval": bounds}
