"""The rows of a pool, and their order.

* The hash of a row's group (question, passage, pair; without a group the row itself) decides the pool. So rows of one group are in one
  pool, and a row's pool does not depend on other rows.
* Two seeds draw: one the test rows, the other the training pools among the remaining rows. So the training pools can be drawn anew while
  the test rows stay.
* Within a pool, a second hash, of the row ids, gives the order. A limit takes the first rows, so a smaller pool is the beginning of a
  larger pool, and the order of a file (sorted by label, for example) has no effect.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from w2s_cli.data.labels import missing
from w2s_cli.data.rows import Rows
from w2s_cli.errors import UserError
from w2s_cli.statistics.draw import drawer, fingerprint

POOLS = ("test", "weak_train", "weak_val", "strong_val", "strong_train")  # in the order of their shares of [0, 1)
# data.drop_overlap: the first pool with a text keeps it
KEEPS_TEXT = ("test", "strong_val", "weak_val", "strong_train", "weak_train")


def shares(fractions: Mapping[str, float], *, own_test: bool) -> dict[str, tuple[float, float]]:
    """Pool → its interval of group hashes.

    With `own_test` the test rows have a split of their own: the share of test is then dealt to the other pools in proportion to theirs,
    as far as theirs leave any of it.
    """
    training = sum(float(fractions.get(pool, 0.0)) for pool in POOLS[1:])
    unused = float(fractions.get("test", 0.0)) if own_test else 0.0
    scale = max(1.0, min(1.0, training + unused) / training) if unused and training else 1.0
    intervals, start = {}, 0.0
    for pool in POOLS[own_test:]:
        end = round(start + scale * float(fractions.get(pool, 0.0)), 9)
        intervals[pool] = (start, end)
        start = end
    return intervals


def row_ids(rows: Rows, *, split: str, column: str | None) -> list[str]:
    """The ids of the rows: the values of `column`, or <split>-<row number>, counted from 0.

    Raises:
        UserError: no such column, a missing or a repeated id.
    """
    if column is None:
        return [f"{split}-{number}" for number in range(rows.count)]
    ids = ["" if missing(value) else str(value) for value in rows.column(rows.need(column, "data.id"))]
    if "" in ids:
        first = rows.place(ids.index(""))
        raise UserError(f'{first}, column "{column}": the id is missing.')
    if len(set(ids)) < len(ids):
        repeated = [name for name, times in Counter(ids).items() if times > 1]
        several = f"{len(repeated):,} ids come" if len(repeated) > 1 else "one id comes"
        raise UserError(
            f'{rows.shown}, column "{column}": {several} more than once (first: {repeated[0]}). '
            "Give a column of unique ids, or number the rows: data.id=null"
        )
    return ids


def row_groups(rows: Rows, ids: Sequence[str], columns: Sequence[str]) -> Sequence[str]:
    """A short name of each row's group; without group columns the row's id."""
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
        share: the pool's part of [0, 1); None: all rows.
        seed: of the draw of the pools and of the order.
        test: {seed, share} of the draw of the test rows. Another `seed` then draws the other pools anew, but not the test rows.
            None: test rows are drawn by `seed` too.
    """
    chosen: Sequence[int] = range(len(ids))
    if share is not None:
        low, high = share
        place = _place(name, seed, test or {"seed": seed, "share": 0.0})
        if groups is not ids:  # the rows of a group have the same number
            place = cache(place)
        chosen = [index for index, group in enumerate(groups) if low <= place(group) < high]
    turn = drawer(name, "order", seed)
    return sorted(chosen, key=lambda index: (turn(ids[index]), ids[index]))


def _place(name: str, seed: int, test: Mapping[str, Any]) -> Callable[[str], float]:
    """Group → its place in [0, 1): below test.share by the draw of the test rows, else above it by the draw of `seed`."""
    first, again, end = drawer(name, "pool", test["seed"]), drawer(name, "pool", seed), float(test["share"])
    if seed == test["seed"]:
        return first

    def place(group: str) -> float:
        drawn = first(group)
        return drawn if drawn < end else end + (1 - end) * again(group)

    return place
