"""Keep the labels with high confidence: the confidence of a row is its largest probability.

The high-confidence filter of Yang et al. 2025 (arXiv 2406.11431) keeps confidence ≥ 0.75; train_only_on_confident_labels of
the automated weak-to-strong sandbox keeps a share.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from w2s_cli.errors import UserError
from w2s_cli.selection import Labels, Selected, need_share
from w2s_cli.values import Either

NEEDS_FEATURES = False
NEEDS_TRUTH = False

ROUNDING = 1e-6  # labels are float32: 0.9 is read as 0.89999998


def confidence(
    labels: Labels,
    *,
    threshold: Annotated[float | None, Ge(0), Le(1), Either("share")] = None,
    share: Annotated[float, Ge(0), Le(1)] | None = None,
) -> Selected:
    """Rows with max p ≥ `threshold`, or the `share` of the rows with the largest max p (a rounded number; ties by chance).

    Raises:
        UserError: neither or both options, or a number outside [0, 1].
    """
    if (threshold is None) == (share is None):
        raise UserError("select=confidence: give either select.args.threshold or select.args.share, the other one null")
    largest = labels.p.max(axis=1)  # [rows]
    rows = np.flatnonzero(labels.covered)
    if threshold is not None:
        kept = rows[largest[rows] >= need_share(threshold, "select.args.threshold") - ROUNDING]
    else:
        count = round(need_share(share, "select.args.share") * len(rows))
        kept = rows[np.argsort(-largest[rows], kind="stable")[:count]]
    covered = np.zeros(len(labels.ids), dtype=np.bool_)
    covered[kept] = True
    return Selected(labels.p, covered, {"least_confidence": float(largest[kept].min()) if len(kept) else None})
