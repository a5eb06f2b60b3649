"""Control: labels that know nothing of the text. The supervisor's labels, dealt out again to the rows by chance.

Class balance, confidence and the number of labels are as before. What a student still gets right, it gets from the class
balance.
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
