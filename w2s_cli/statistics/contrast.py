"""Two results on the same test rows, role by role: the difference of their accuracies and PGR, with a paired interval.

* Rows are joined by id; one bootstrap draw moves both results together, so what the rows have in common cancels.
* Seeds are paired where both have the same ones; else each result is averaged over its seeds first, and the interval holds test-row noise
  only.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from w2s_cli.statistics.figures import Floats, recovered
from w2s_cli.statistics.intervals import bootstrap_means, interval
from w2s_cli.statistics.report import ROLES


class Answered(NamedTuple):
    """The runs of one setting, with a seed for each run."""

    truth: Mapping[str, Any]  # row id → its true class or right answer
    # role → [seeds, rows], in the order of `truth`: 1 right, 0 wrong, or the share of right samples
    right: Mapping[str, Floats]


def contrast(
    a: Answered, b: Answered, *, same_seeds: bool, draws: int = 2000, confidence: float = 0.95
) -> dict[str, Any] | None:
    """Differences b − a of the roles that both have.

    Args:
        a, b: the answers of one setting each.
        same_seeds: `a` and `b` have the same seeds in the same order.

    Returns:
        None where the test rows differ. Else rows, noise, and per role (and for pgr) a, b, difference, interval (None where
        PGR's gap may be nothing).
    """
    if a.truth != b.truth:
        return None
    place = {row: position for position, row in enumerate(b.truth)}
    order = np.array([place[row] for row in a.truth])
    roles = [role for role in ROLES if role in a.right and role in b.right]
    right = [*(a.right[role] for role in roles), *(b.right[role][:, order] for role in roles)]  # each [seeds, rows]
    paired = same_seeds and len(right[0]) == len(right[-1]) > 1
    if not paired:
        right = [one.mean(axis=0, keepdims=True) for one in right]
    cells = np.stack(right, axis=-1)  # [seeds or 1, rows, columns]
    moved = bootstrap_means(cells, draws)
    sample = {(side, role): moved[:, len(roles) * side + i] for side in (0, 1) for i, role in enumerate(roles)}
    mean = {at: float(cells[..., len(roles) * at[0] + roles.index(at[1])].mean()) for at in sample}
    contrasts: dict[str, Any] = {"rows": len(a.truth), "noise": "seeds and test rows" if paired else "test rows only"}
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
