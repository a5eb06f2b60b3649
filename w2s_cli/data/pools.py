"""Which rows a pool gets, and in which order.

* The hash of a row's group (question, passage, pair; the row itself where there is none) decides the pool: rows of one group never
  cross pools, and a row stays where it is whatever happens to the others.
* Two seeds draw: one sets the test rows apart, the other deals the rest to the training pools. So the pools can be drawn anew while the
  test rows stay.
* A pool's rows stand in the order of a second hash, of their ids. A limit takes the first of them, so a smaller pool is the
  beginning of a larger one, and a file that is sorted by label is no trap.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from w2s_cli.data.draw import drawer, fingerprint
from w2s_cli.data.rows import Rows
from w2s_cli.errors import UserError

POOLS = ("test", "weak_train", "weak_val", "strong_val", "strong_train")  # in the order of their shares of [0, 1)


def shares(fractions: Mapping[str, float], *, own_test: bool) -> dict[str, tuple[float, float]]:
    """Pool → the interval of group hashes that it gets. With `own_test` the test rows have their own split."""
    found, start = {}, 0.0
    for pool in POOLS[own_test:]:
        end = round(start + float(fractions.get(pool, 0.0)), 9)
        found[pool] = (start, end)
        start = end
    return found


def row_ids(rows: Rows, *, split: str, column: str | None) -> list[str]:
    """The rows' names: the values of `column`, or <split>-<row number>, counted from 0.

    Raises:
        UserError: no such column, a missing or a repeated id.
    """
    if column is None:
        return [f"{split}-{number}" for number in range(rows.count)]
    ids = [str(value) if value is not None else "" for value in rows.column(rows.need(column, "data.id"))]
    if "" in ids:
        raise UserError(f'{rows.shown}, column "{column}", row {ids.index("")}: the id is missing.')
    if len(set(ids)) < len(ids):
        repeated = [name for name, times in Counter(ids).items() if times > 1]
        raise UserError(
            f'{rows.shown}, column "{column}": {len(repeated)} ids come more than once (first: {repeated[0]}). '
            "Give a column of unique ids, or number the rows: data.id=null"
        )
    return ids


def row_groups(rows: Rows, ids: Sequence[str], columns: Sequence[str]) -> Sequence[str]:
    """A short name per row of what keeps rows together; the row's id where nothing does."""
    if not columns:
        return ids
    values = [rows.column(rows.need(column, "data.group")) for column in columns]
    return [fingerprint(*row) for row in zip(*values, strict=True)]


def pool_order(
    name: str,
    ids: Sequence[str],
    groups: Sequence[str],
    *,
    share: Sequence[float] | None,
    seed: int,
    test: Mapping[str, Any] | None = None,
) -> list[int]:
    """Indices of a pool's rows in its fixed order.

    Args:
        share: the pool's interval of [0, 1); null: all rows.
        seed: of the draw of the pools and of the order.
        test: {seed, share}: the draw that sets the test rows apart, and how many. Another seed draws the other pools anew and leaves the
            test rows where they are. None: as `seed`.
    """
    chosen: Sequence[int] = range(len(ids))
    if share is not None:
        low, high = share
        place = _place(name, seed, test or {"seed": seed, "share": 0.0})
        if groups is not ids:  # a group's rows ask for the same number
            place = cache(place)
        chosen = [index for index, group in enumerate(groups) if low <= place(group) < high]
    turn = drawer(name, "order", seed)
    return sorted(chosen, key=lambda index: (turn(ids[index]), ids[index]))


def _place(name: str, seed: int, test: Mapping[str, Any]) -> Callable[[str], float]:
    """Group → its place in [0, 1): below test.share by the test draw, the others above it by the draw of `seed`."""
    first, again, end = drawer(name, "pool", test["seed"]), drawer(name, "pool", seed), float(test["share"])
    if seed == test["seed"]:
        return first

    def place(group: str) -> float:
        drawn = first(group)
        return drawn if drawn < end else end + (1 - end) * again(group)

    return place
