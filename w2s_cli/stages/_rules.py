"""The call of a rule of w2s_cli.combining or w2s_cli.selection, and the check of its result: the rule may be a user's own file."""

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
    votes_or_labels: Votes | Labels,
    args: Mapping[str, Any],
    *,
    called: str,
    every_row: bool,
    advice: str,
) -> tuple[Floats, Booleans, dict[str, Any]]:
    """The rule's result for votes or labels: p [rows, classes], covered [rows], diagnostics.

    Args:
        args: keyword arguments of the rule.
        called: name of the rule in messages.
        every_row: the probabilities of uncovered rows must add up to 1 too.
        advice: end of the message if no row is left with a label.

    Raises:
        UserError: unknown arguments, an error inside the rule, a result of another shape or type, values that are no
            probabilities, or no row with a label.
    """
    result = call_code(called, rule, votes_or_labels, args=args)
    try:
        p, covered = np.asarray(result.p, dtype=np.float64), np.asarray(result.covered)
        diagnostics = dict(result.diagnostics)
    except Exception as error:  # a user's rule can return anything
        raise of_user_code(called, error) from error
    shape = votes_or_labels.p.shape[-2:]
    if p.shape != shape or covered.shape != shape[:1] or covered.dtype != np.bool_:
        raise UserError(
            f"{called} returns p {list(p.shape)} and covered {list(covered.shape)} ({covered.dtype}) for "
            f"{list(shape)} rows and classes; covered must be true or false for each row"
        )
    sums = np.abs(p.sum(axis=1) - 1) <= TOLERANCE
    if not ((p >= 0).all() and (sums if every_row else sums[covered]).all()):  # NaN fails this too
        raise UserError(f"{called} returns values that are no probabilities, or do not add up to 1")
    if not covered.any():
        raise UserError(f"{called} leaves none of the {len(p)} rows with a label: {advice}")
    return p, covered, diagnostics
