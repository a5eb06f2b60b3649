"""Pseudolabel correction and coverage expansion: the student's accuracy where its supervisor is wrong, and where it abstains.

Lang, Sontag & Vijayaraghavan 2024, "Theoretical Analysis of Weak-to-Strong Generalization" (arXiv 2405.16043), on the
test rows: S are the rows that the supervisor labels, T the rows on which it abstains, S_i and T_i their rows of true
class i.

* weak_error is their α (α_i for a class): the supervisor's error on S.
* Correction: the student is right on a row of S where the supervisor is wrong (student_on_covered_wrong).
* Expansion: the student is right on a row of T (student_on_uncovered).

Each is a share of rows, with the interval of a share (`intervals.share_interval`).
"""

from typing import Any

import numpy as np

from w2s_cli.statistics.figures import Booleans, Floats, Integers
from w2s_cli.statistics.intervals import share_interval


def pseudolabels(
    truth: Integers,
    weak: Integers,
    student: Integers,
    covered: Booleans | None,
    *,
    classes: int,
    draws: int,
    confidence: float,
) -> dict[str, Any]:
    """The figures of all rows, and under per_class the figures of each true class.

    Args:
        truth: [rows].
        weak, student: [seeds, rows], predicted classes.
        covered: [seeds, rows], rows that the supervisor labels; None: all.
        classes: their number.
        draws: of the bootstrap.
        confidence: of the intervals.

    Returns:
        coverage, weak_error, student_on_covered, student_on_covered_right, student_on_covered_wrong, student_on_uncovered, each
        {value, interval}: the value is None without such rows, the interval None if their number may be 0.
    """
    inside = np.ones(weak.shape, dtype=np.bool_) if covered is None else covered
    cells = _cells(inside, weak == truth, student == truth)
    figures = _figures(cells, draws, confidence)
    figures["per_class"] = [
        _figures({name: cell * (truth == true_class) for name, cell in cells.items()}, draws, confidence)
        for true_class in range(classes)
    ]
    return figures


PARTS = {  # figure: (rows in the numerator, rows in the denominator)
    "coverage": ("covered", "all"),
    "weak_error": ("wrong", "covered"),
    "student_on_covered": ("student_covered", "covered"),
    "student_on_covered_right": ("student_right", "right"),
    "student_on_covered_wrong": ("student_wrong", "wrong"),
    "student_on_uncovered": ("student_uncovered", "uncovered"),
}


def _cells(covered: Booleans, weak_right: Booleans, student_right: Booleans) -> dict[str, Floats]:
    """The rows that are counted, each [seeds, rows] of 0 and 1."""
    rows = {
        "all": np.ones_like(covered),
        "covered": covered,
        "uncovered": ~covered,
        "right": covered & weak_right,
        "wrong": covered & ~weak_right,
    }
    rows |= {f"student_{name}": rows[name] & student_right for name in ("covered", "uncovered", "right", "wrong")}
    return {name: cell.astype(np.float64) for name, cell in rows.items()}


def _figures(cells: dict[str, Floats], draws: int, confidence: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name, (part, whole) in PARTS.items():
        bounds = share_interval(cells[part], cells[whole], confidence, draws)
        figures[name] = {
            "value": float(cells[part].sum() / cells[whole].sum()) if cells[whole].any() else None,
            "interval": None if bounds is None else list(bounds),
        }
    return figures
