"""The contrast of two results on the same test rows: differences of accuracies (role by role) and of PGR, with paired intervals.

* Rows are joined by id. One bootstrap draw moves both results together, so the noise that they share cancels.
* Equal seeds are paired. With different seeds each result is averaged over its seeds first, and the interval holds test-row noise only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from w2s_cli.statistics.figures import Floats, predicted, recovered
from w2s_cli.statistics.intervals import bootstrap_means, interval
from w2s_cli.statistics.predictions import read_runs

ROLES = ("weak", "student", "ceiling")


def contrast(
    a: Sequence[Path], b: Sequence[Path], *, same_seeds: bool, draws: int = 2000, confidence: float = 0.95
) -> dict[str, Any] | None:
    """Differences b − a of the roles in both results.

    Args:
        a, b: result folders of evaluate stages, one per seed.
        same_seeds: the folders of `a` and `b` belong to the same seeds in the same order.

    Returns:
        None if the test rows differ. Else rows, noise, and for each role and for pgr: a, b, difference, interval (None for pgr if
        the gap may be 0).

    Raises:
        UserError: a missing or unreadable file.
    """
    ids, truth, predictions_a = read_runs(a)
    ids_b, truth_b, predictions_b = read_runs(b)
    if set(ids) != set(ids_b):
        return None
    place = {row: position for position, row in enumerate(ids_b)}
    order = np.array([place[row] for row in ids])
    if (truth_b[order] != truth).any():
        return None
    roles = [role for role in ROLES if role in predictions_a and role in predictions_b]
    right: list[Floats] = []  # each [seeds, rows]
    right += [(predicted(predictions_a[role].p) == truth).astype(np.float64) for role in roles]
    right += [(predicted(predictions_b[role].p)[:, order] == truth).astype(np.float64) for role in roles]
    paired = same_seeds and len(a) == len(b) and len(a) > 1
    if not paired:
        right = [column.mean(axis=0, keepdims=True) for column in right]
    cells = np.stack(right, axis=-1)  # [seeds or 1, rows, columns]
    moved = bootstrap_means(cells, draws)
    sample = {(side, role): moved[:, len(roles) * side + i] for side in (0, 1) for i, role in enumerate(roles)}
    mean = {at: float(cells[..., len(roles) * at[0] + roles.index(at[1])].mean()) for at in sample}
    differences: dict[str, Any] = {"rows": len(ids), "noise": "seeds and test rows" if paired else "test rows only"}
    for role in roles:
        differences[role] = {
            "a": mean[0, role],
            "b": mean[1, role],
            "difference": mean[1, role] - mean[0, role],
            "interval": _bounds(sample[1, role] - sample[0, role], confidence),
        }
    if len(roles) == len(ROLES):
        differences["pgr"] = _pgr(mean, sample, confidence)
    return differences


def _bounds(draws: Floats, confidence: float) -> list[float]:
    """The interval in 10 decimals, so that equal predictions differ by 0, not by a rounding error."""
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
