"""Control: the truth with as many errors as the supervisor makes, but without structure: which rows are wrong is chance.

A student may fail to learn its supervisor's errors because they are errors, or because of where they lie. With these
labels only the first can be. What is matched (`match`):

* rate: the number of wrong labels; a wrong label is any other class.
* confusion: how many rows of each class are labelled as each class.
* labels: for each true class all the supervisor's soft labels, dealt out by chance among the rows of that class.

rate and confusion give one-hot labels.
"""

import numpy as np

from w2s_cli.selection import Labels, Selected, chance, need_one_of, need_truth
from w2s_cli.statistics.figures import predicted

NEEDS_FEATURES = False
NEEDS_TRUTH = True

MATCHES = ("rate", "confusion", "labels")


def matched_noise(labels: Labels, *, match: str = "rate") -> Selected:
    """The truth on the labelled rows, wrong on as many of them as the given labels are.

    Returns:
        diagnostics: wrong, and still_wrong (rows that were wrong before and are now).
    """
    need_one_of(match, MATCHES, "control.args.match")
    truth = need_truth(labels)
    rows, classes = np.flatnonzero(labels.covered), labels.p.shape[1]
    said, right = predicted(labels.p[rows]), truth[rows]
    p = labels.p.copy()
    if match == "rate":
        count = int((said != right).sum())
        flipped = np.argsort(chance(labels, "flip", rows), kind="stable")[:count]
        given = right.copy()
        step = 1 + np.floor(chance(labels, "class", rows[flipped]) * (classes - 1)).astype(np.int64)  # 1 … classes − 1
        given[flipped] = (right[flipped] + step) % classes
        p[rows] = np.eye(classes)[given]
    else:
        source = p if match == "labels" else np.eye(classes)[predicted(p)]
        taker, giver = chance(labels, "taker", rows), chance(labels, "giver", rows)
        for one in np.unique(right):
            inside = np.flatnonzero(right == one)
            order = rows[inside[np.argsort(giver[inside], kind="stable")]]
            p[rows[inside[np.argsort(taker[inside], kind="stable")]]] = source[order]
    now = predicted(p[rows]) != right
    return Selected(
        p, labels.covered.copy(), {"wrong": int(now.sum()), "still_wrong": int((now & (said != right)).sum())}
    )
