"""Control: labels that are independent of the text: the supervisor's labels in a random order.

Class balance, confidence and number of labels stay. Any accuracy of the student then comes from the class balance.
"""

import numpy as np

from w2s_cli.selection import Labels, Selected, chance

NEEDS_FEATURES = False
NEEDS_TRUTH = False


def random_labels(labels: Labels) -> Selected:
    """The labelled rows' labels in another order; both orders are drawn by row id."""
    rows = np.flatnonzero(labels.covered)
    taker, giver = (rows[np.argsort(chance(labels, role, rows), kind="stable")] for role in ("taker", "giver"))
    p = labels.p.copy()
    p[taker] = labels.p[giver]
    return Selected(p, labels.covered.copy(), {"unmoved": int((taker == giver).sum())})
