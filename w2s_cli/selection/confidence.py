"""Keep the labels that the supervisor is sure of: the largest probability of a row is its confidence.

The high-confidence filter of Yang et al. 2024 (arXiv 2406.11431) keeps confidence ≥ 0.75; train_only_on_confident_labels of
the automated weak-to-strong sandbox keeps a share.
"""

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.selection import Labels, Selected, need_share

NEEDS_FEATURES = False
NEEDS_TRUTH = False

ROUNDING = 1e-6  # labels are float32: 0.9 is read as 0.89999998


def confidence(labels: Labels, *, threshold: float | None = None, share: float | None = None) -> Selected:
    """Rows with max p ≥ `threshold`, or the `share` of the rows with the largest max p (rounded; ties by chance).

    Raises:
        UserError: neither or both are given, or no number between 0 and 1.
    """
    if (threshold is None) == (share is None):
        raise UserError("select=confidence: give either select.args.threshold or select.args.share, the other one null")
    sure = labels.p.max(axis=1)
    rows = np.flatnonzero(labels.covered)
    if threshold is not None:
        kept = rows[sure[rows] >= need_share(threshold, "select.args.threshold") - ROUNDING]
    else:
        count = round(need_share(share, "select.args.share") * len(rows))
        kept = rows[np.argsort(-sure[rows], kind="stable")[:count]]
    covered = np.zeros(len(labels.ids), dtype=np.bool_)
    covered[kept] = True
    return Selected(labels.p, covered, {"least_confidence": float(sure[kept].min()) if len(kept) else None})
