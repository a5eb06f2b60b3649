"""The table of graded answers: roles, their accuracy, form and length, the recovered gap, and the accuracy by level."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from w2s_cli.statistics import ROLE_NAMES, ROLES
from w2s_cli.statistics.levels import in_order

NAMES = {
    **ROLE_NAMES,
    "better": "better weak model",
    "untuned": "student before training",
    "cot": "student zero-shot CoT",
    "prompted": "student prompted",
}
SHOWN = "texts"  # of a role's block: what only graded answers have


def is_graded(metrics: Mapping[str, Any]) -> bool:
    """Whether the metrics are of `statistics.graded`."""
    return "floor" in metrics


def only_graded(metrics: Iterable[Mapping[str, Any]]) -> bool:
    """Whether there are results, all of graded answers: nothing in them has a probability or a predicted class."""
    graded = [is_graded(each) for each in metrics]
    return bool(graded) and all(graded)


def blocks(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Role → its block, the roles of every comparison first."""
    return {role: metrics[role] for role in ROLES if role in metrics} | dict(metrics.get("others", {}))


def heading(metrics: Mapping[str, Any]) -> list[str]:
    """The columns after accuracy and interval."""
    texts = [block[SHOWN] for block in blocks(metrics).values()]
    ks = [str(block["samples"]) for block in texts if block["samples"] > 1]
    many = [f"pass@{ks[0]}", f"maj@{ks[0]}"] if ks else []
    return ["well-formed", "cut", "tokens", *many]


def figures(block: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The cells of one role under `heading`."""
    texts = block[SHOWN]
    cells = {
        "well-formed": f"{texts['well_formed']:.3f}",
        "cut": f"{texts['cut']:.3f}",
        "tokens": f"{texts['tokens']:.1f}",
        f"pass@{texts['samples']}": _share(texts.get("pass_at", {}).get(str(texts["samples"]))),
        f"maj@{texts['samples']}": _share(texts.get("majority")),
    }
    return [cells.get(column, "") for column in columns]


def ratio_name(metrics: Mapping[str, Any]) -> str:
    """PGR, or RGR where the floor is not the weak supervisor (Yuan et al. 2025)."""
    return "PGR" if metrics["floor"] == "weak" else f"RGR from {metrics['floor']}"


def gains(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """'student minus untuned' → the difference with its interval, for every role beside those of any comparison."""
    differences = metrics["differences"]
    return {
        f"student minus {role}": differences[f"student_minus_{role}"]
        for role in metrics.get("others", {})
        if f"student_minus_{role}" in differences
    }


def level_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """A table of accuracy by level: a header and a row for each role; empty without levels."""
    levels = metrics.get("levels")
    if not levels:
        return []
    roles = list(blocks(metrics))
    names = in_order(levels)  # JSON has them in the order of texts
    head = ["accuracy by level", *names]
    return [head, *([role, *(f"{levels[level][role]:.3f}" for level in names)] for role in roles)]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
