"""Calling a rule of w2s_cli.combining or w2s_cli.selection, which may be a user's own file, and checking what it gives."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from w2s_cli.combining import Combined, Votes
from w2s_cli.errors import UserError, of_user_code
from w2s_cli.plugins import call_code
from w2s_cli.selection import Labels, Selected
from w2s_cli.statistics.figures import TOLERANCE, Booleans, Floats


def apply_rule(
    rule: Callable[..., Combined | Selected],
    given: Votes | Labels,
    args: Mapping[str, Any],
    *,
    called: str,
    every_row: bool,
    advice: str,
) -> tuple[Floats, Booleans, dict[str, Any]]:
    """What the rule makes of votes or labels: p [rows, classes], covered [rows], diagnostics.

    Args:
        args: keyword arguments of the rule.
        called: the rule in messages.
        every_row: rows that are not covered must hold probabilities that add up to 1, too.
        advice: what to do if no row is left with a label.

    Raises:
        UserError: arguments that the rule does not take, an error in it, results of another shape or type, values that are
            no probabilities, no row with a label.
    """
    found = call_code(called, rule, given, args=args)
    try:
        p, covered = np.asarray(found.p, dtype=np.float64), np.asarray(found.covered)
        diagnostics = dict(found.diagnostics)
    except Exception as error:  # whatever the user's file returns
        raise of_user_code(called, error) from error
    shape = given.p.shape[-2:]
    if p.shape != shape or covered.shape != shape[:1] or covered.dtype != np.bool_:
        raise UserError(
            f"{called} gives p {list(p.shape)} and covered {list(covered.shape)} ({covered.dtype}) for "
            f"{list(shape)} rows and classes; covered must be true or false"
        )
    sums = np.abs(p.sum(axis=1) - 1) <= TOLERANCE
    if not ((p >= 0).all() and (sums if every_row else sums[covered]).all()):  # NaN fails this too
        raise UserError(f"{called} gives values that are no probabilities, or do not add up to 1")
    if not covered.any():
        raise UserError(f"{called} leaves none of the {len(p)} rows with a label: {advice}")
    return p, covered, diagnostics
