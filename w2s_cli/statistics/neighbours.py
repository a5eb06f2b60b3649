"""Exact nearest neighbours among rows, without a table of all pairs of rows.

Distances are Euclidean, in float64, for a block of rows at a time. A row is not its own neighbour, but copies of it are neighbours.
Among equally near rows the choice depends only on the order of the rows.
"""

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import Floats, Integers

BLOCK = 2**23  # distances in memory at a time (64 MiB)


def nearest(
    features: Floats, k: int, *, among: Integers | None = None, itself: bool = False, others: Floats | None = None
) -> Integers:
    """The `k` nearest rows of each row of `features` [rows, width], unordered: [rows, min(k, candidates)].

    Args:
        among: [n], the rows that may be neighbours; None: all.
        itself: a row is its own first neighbour (as in code that looks up training rows among the training rows).
        others: [m, width], other rows whose numbers are `among` and the result; None: the rows themselves.
    """
    rows = len(features)
    from_others = others is not None
    others = features if others is None else others
    among = np.arange(len(others)) if among is None else among
    k = min(k, len(among) if itself or from_others else len(among) - 1)
    if k < 1:
        raise UserError(f"nearest neighbours need k of at least 1 and two rows; here k={k}, rows={len(among)}")
    candidates = others[among]
    squares = (candidates**2).sum(axis=1)
    neighbours = np.empty((rows, k), dtype=np.int64)
    step = max(1, BLOCK // len(among))
    for start in range(0, rows, step):
        end = min(start + step, rows)
        distance = squares - 2 * features[start:end] @ candidates.T  # + |x|², the same for all of a row
        if not from_others:
            own = np.flatnonzero((among >= start) & (among < end))
            distance[among[own] - start, own] = -np.inf if itself else np.inf
        neighbours[start:end] = among[np.argpartition(distance, k - 1, axis=1)[:, :k]]
    return neighbours
