"""Control: a random share of the labels is replaced by the ground truth; share=1 is the ceiling's supervision."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from w2s_cli.selection import Labels, Selected, chance, need_share, need_truth
from w2s_cli.statistics.figures import predicted

NEEDS_FEATURES = False
NEEDS_TRUTH = True


def truth_mix(labels: Labels, *, share: Annotated[float, Ge(0), Le(1)] = 0.5) -> Selected:
    """One-hot truth on `share` of the labelled rows (rounded); the rows of a smaller share are among the rows of a larger share.

    Returns:
        diagnostics: true_labels, wrong_replaced.
    """
    truth = need_truth(labels)
    rows = np.flatnonzero(labels.covered)
    count = round(need_share(share, "control.args.share") * len(rows))
    mixed = rows[np.argsort(chance(labels, "truth", rows), kind="stable")[:count]]
    p = labels.p.copy()
    p[mixed] = np.eye(p.shape[1])[truth[mixed]]
    wrong = int((predicted(labels.p[mixed]) != truth[mixed]).sum())
    return Selected(p, labels.covered.copy(), {"true_labels": count, "wrong_replaced": wrong})
