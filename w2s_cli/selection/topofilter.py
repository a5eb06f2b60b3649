"""TopoFilter (Wu et al. 2020, as in EleutherAI's code): keep the largest component of each class in the strong model's features.

1. The k nearest rows of each row make a directed graph. Of each class (argmax of the label) the largest strongly connected
   component is kept. A row among rows of another class is usually in no such component, and is dropped.
2. Zeta step: the kept rows whose labels are farthest from the mean label of their nearest kept rows are dropped, until the
   share `contamination` of all rows is dropped. Step 1 may already drop more, half of the rows on some data sets. Then this
   step drops nothing, and the diagnostics show it.

relabel keeps all rows: each row gets the mean label of its nearest rows among the rows kept in step 1.

Rows that other rows judge (`labels.fit`, training rows) are in no component: step 1 takes its body from the training rows, and
step 2 drops the share of the judged rows.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from w2s_cli.errors import UserError
from w2s_cli.selection import ACTIONS, Labels, Selected, covered_features, need_one_of, need_share
from w2s_cli.statistics.figures import Booleans, Integers, predicted
from w2s_cli.statistics.neighbours import nearest

NEEDS_FEATURES = True
NEEDS_TRUTH = False


def topofilter(
    labels: Labels,
    *,
    action: Literal["filter", "relabel"] = "filter",
    contamination: Annotated[float, Ge(0), Le(1)] = 0.1,
    k_component: Annotated[int, Ge(1)] = 50,
    k_zeta: Annotated[int, Ge(1)] = 50,
) -> Selected:
    """The filter, or relabelling, of the module's docstring; with fewer than k other rows, all of them are neighbours.

    Args:
        contamination: share of the covered rows that both steps drop together (rounded).
        k_component, k_zeta: numbers of neighbours in steps 1 and 2.

    Returns:
        diagnostics: dropped_by_component, dropped_by_zeta.

    Raises:
        UserError: no component has two rows or more.
    """
    need_one_of(action, ACTIONS, "select.args.action")
    share = need_share(contamination, "select.args.contamination")
    rows, features, examples = covered_features(labels)
    p = labels.p[rows]
    body = np.flatnonzero(largest_components(nearest(examples.features, k_component), predicted(examples.p)))
    if len(body) < 2:
        raise UserError("select=topofilter: the labels leave no two connected rows in any class; raise k_component")
    out = len(examples.p) - len(body)
    around = nearest(features, k_zeta, among=body, others=examples.features if examples.others else None)  # [rows, k]
    probe = examples.p[around].mean(axis=1)  # [rows, classes]
    if action == "relabel":
        relabelled = labels.p.copy()
        relabelled[rows] = probe
        return Selected(relabelled, labels.covered.copy(), {"outside_component": out})
    inside = np.arange(len(rows)) if examples.others else body
    distance = np.abs(p[inside] - probe[inside]).sum(axis=1) / 2
    more = max(round(share * len(rows)) - (len(rows) - len(inside)), 0)
    kept = np.sort(inside[np.argsort(-distance, kind="stable")[more:]])
    covered = np.zeros(len(labels.ids), dtype=np.bool_)
    covered[rows[kept]] = True
    counts = {"dropped_by_component": len(rows) - len(inside), "dropped_by_zeta": len(inside) - len(kept)}
    return Selected(labels.p, covered, counts)


def largest_components(neighbours: Integers, classes: Integers) -> Booleans:
    """Rows in the largest strongly connected component of their class, for `neighbours` [rows, k] and `classes` [rows]."""
    rows, k = neighbours.shape
    source, end = np.repeat(np.arange(rows), k), neighbours.ravel()
    same = classes[source] == classes[end]
    graph = csr_array((np.ones(same.sum()), (source[same], end[same])), shape=(rows, rows))
    _, component = connected_components(graph, directed=True, connection="strong")
    sizes = np.bincount(component)
    inside = np.zeros(rows, dtype=np.bool_)
    for number in np.unique(classes):
        members = classes == number
        counts = np.where(np.isin(np.arange(len(sizes)), component[members]), sizes, 0)
        inside |= members & (component == counts.argmax())
    return inside
