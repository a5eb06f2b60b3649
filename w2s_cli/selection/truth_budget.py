"""A budget of true labels among weak labels: the gain from few expensive labels beside many cheap labels.

Mallen & Belrose 2024, "Balancing Label Quantity and Quality" (arXiv 2410.13215). `rows` or `share` true labels are bought;
of the other rows, `weak_share` keep their weak labels (0: true labels only). A true label costs the same on every row, so the
question is its `placement`:

* random: on rows drawn by id, so a smaller budget is a part of a larger budget.
* uncertain: on the rows with the smallest largest probability of the weak label; rows without a label first.
* oracle_wrong: on rows whose weak label is wrong or missing, then on random rows. This is impossible in practice: it bounds the
  gain from placement.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from w2s_cli.errors import UserError
from w2s_cli.selection import Labels, Selected, chance, need_one_of, need_share, need_truth
from w2s_cli.statistics.figures import predicted
from w2s_cli.values import Either

NEEDS_FEATURES = False
NEEDS_TRUTH = True

PLACEMENTS = ("random", "uncertain", "oracle_wrong")


def truth_budget(
    labels: Labels,
    *,
    share: Annotated[float | None, Ge(0), Le(1), Either("rows")] = None,
    rows: Annotated[int, Ge(0)] | None = None,
    placement: Literal["random", "uncertain", "oracle_wrong"] = "random",
    weak_share: Annotated[float, Ge(0), Le(1)] = 1.0,
) -> Selected:
    """Weak labels, some of them replaced by true labels (one-hot).

    Args:
        share, rows: the share (rounded), or the number, of rows with a true label; one of the two.
        placement: random, uncertain or oracle_wrong.
        weak_share: share of the other labelled rows that keep their weak label, drawn at random; the rest has no label.

    Returns:
        diagnostics: true_labels, weak_labels, and wrong_replaced (the number of wrong labels among the replaced ones).

    Raises:
        UserError: neither or both of share and rows, or more rows than the pool has.
    """
    truth = need_truth(labels)
    need_one_of(placement, PLACEMENTS, "select.args.placement")
    if (share is None) == (rows is None):
        raise UserError("select=truth_budget: give either select.args.share or select.args.rows, the other one null")
    total = len(labels.ids)
    count = rows if rows is not None else round(need_share(share, "select.args.share") * total)
    if not 0 <= count <= total:
        raise UserError(f"select.args.rows={rows}: the pool has {total} rows")
    wrong = labels.covered & (predicted(labels.p) != truth)
    drawn = chance(labels, "truth")
    if placement == "uncertain":
        first = np.where(labels.covered, labels.p.max(axis=1), 0.0)
    else:
        first = np.where((wrong | ~labels.covered) & (placement == "oracle_wrong"), 0.0, 1.0)
    bought = np.lexsort((drawn, first))[:count]
    rest = np.setdiff1d(np.flatnonzero(labels.covered), bought)
    keep = round(need_share(weak_share, "select.args.weak_share") * len(rest))
    kept = rest[np.argsort(chance(labels, "weak", rest), kind="stable")[:keep]]
    p, covered = labels.p.copy(), np.zeros(total, dtype=np.bool_)
    p[bought] = np.eye(p.shape[1])[truth[bought]]
    covered[bought] = covered[kept] = True
    diagnostics = {"true_labels": count, "weak_labels": len(kept), "wrong_replaced": int(wrong[bought].sum())}
    return Selected(p, covered, diagnostics)
