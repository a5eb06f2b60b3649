"""Control: the truth with as many errors as the supervisor's labels, but on random rows.

A student may not learn its supervisor's errors, either because they are errors, or because of the rows that they are on. With
these labels only the first reason is possible. The choices of `match`:

* rate: the number of wrong labels; a wrong label is any other class.
* confusion: for each true class, the number of rows labelled as each class.
* labels: for each true class, the supervisor's soft labels, assigned to the rows of that class at random.

rate and confusion give one-hot labels.
"""

from typing import Literal

import numpy as np

from w2s_cli.selection import Labels, Selected, chance, need_one_of, need_truth
from w2s_cli.statistics.figures import predicted

NEEDS_FEATURES = False
NEEDS_TRUTH = True

MATCHES = ("rate", "confusion", "labels")


def matched_noise(labels: Labels, *, match: Literal["rate", "confusion", "labels"] = "rate") -> Selected:
    """The truth on the labelled rows, with as many errors as `labels`.

    Returns:
        diagnostics: wrong, and still_wrong (rows that are wrong before and after).
    """
    need_one_of(match, MATCHES, "control.args.match")
    truth = need_truth(labels)
    rows, classes = np.flatnonzero(labels.covered), labels.p.shape[1]
    weak_class, true_class = predicted(labels.p[rows]), truth[rows]  # [labelled rows] each
    p = labels.p.copy()
    if match == "rate":
        count = int((weak_class != true_class).sum())
        flipped = np.argsort(chance(labels, "flip", rows), kind="stable")[:count]
        noisy = true_class.copy()
        step = 1 + np.floor(chance(labels, "class", rows[flipped]) * (classes - 1)).astype(np.int64)  # 1 … classes − 1
        noisy[flipped] = (true_class[flipped] + step) % classes
        p[rows] = np.eye(classes)[noisy]
    else:
        source = p if match == "labels" else np.eye(classes)[predicted(p)]
        taker, giver = chance(labels, "taker", rows), chance(labels, "giver", rows)
        for number in np.unique(true_class):
            inside = np.flatnonzero(true_class == number)
            order = rows[inside[np.argsort(giver[inside], kind="stable")]]
            p[rows[inside[np.argsort(taker[inside], kind="stable")]]] = source[order]
    wrong = predicted(p[rows]) != true_class
    still_wrong = wrong & (weak_class != true_class)
    return Selected(p, labels.covered.copy(), {"wrong": int(wrong.sum()), "still_wrong": int(still_wrong.sum())})
