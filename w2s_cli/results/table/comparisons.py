"""Columns of a table tested against each other over its rows: each row (a data set) is one pair.

A row counts where both columns have a number; flagged gaps and missing cells are left out and counted. Holm's correction is over the
two-sided p values of all comparisons of one table.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.table.grid import Grid, Values

Column = tuple[Values, str]


@dataclass(frozen=True)
class Comparison:
    """One pair of columns."""

    first: str
    second: str
    left_out: int  # rows without a number in one of them
    result: dict[str, Any]  # of w2s_cli.statistics.paired
    holm: dict[str, float | None]  # test → corrected two-sided p


def compare(grid: Grid) -> list[Comparison]:
    """The comparisons that the table asks for.

    Raises:
        UserError: a column that the table does not have.
    """
    from w2s_cli.statistics.paired import holm, paired_tests

    made = []
    for first, second in pairs(grid):
        both = []
        for row in grid.rows:
            values = [_number(grid, row, column) for column in (first, second)]
            if None not in values:
                both.append(values)
        result = paired_tests([one for one, _ in both], [other for _, other in both])  # type: ignore[misc]
        made.append((grid.label(first), grid.label(second), len(grid.rows) - len(both), result))
    corrected = {test: holm([result[test]["p"] for *_, result in made]) for test in ("t", "wilcoxon")}
    return [Comparison(*one, {test: corrected[test][place] for test in corrected}) for place, one in enumerate(made)]


def pairs(grid: Grid) -> list[tuple[Column, Column]]:
    """The columns that are compared: all pairs of one metric, each with the first, or those that are named."""
    columns = [column for column in grid.columns if not column[1].endswith(".interval")]
    by_metric: dict[str, list[Column]] = {}
    for column in columns:
        by_metric.setdefault(column[1], []).append(column)
    chosen_pairs: list[tuple[Column, Column]] = []
    for asked in grid.request.tests:
        if asked == "none":
            return []
        if asked in ("all", "first"):
            for group in by_metric.values():
                chosen_pairs += (
                    list(combinations(group, 2)) if asked == "all" else [(other, group[0]) for other in group[1:]]
                )
            continue
        names = asked.split(":")
        if len(names) != 2:
            raise UserError(f"tests={asked}: write COLUMN:COLUMN, all, first or none; for example tests=logconf:xent")
        chosen = [[column for column in columns if name in ("/".join(column[0]), grid.label(column))] for name in names]
        for name, fitting in zip(names, chosen, strict=True):
            if not fitting:
                labels = ["/".join(values) for values, _ in columns]
                raise UserError(f'tests={asked}: the table has no column "{name}".{did_you_mean(name, set(labels))}')
        chosen_pairs += [(a, b) for a in chosen[0] for b in chosen[1] if a[1] == b[1] or grid.label(a) in names]
    return chosen_pairs


def _number(grid: Grid, row: Values, column: Column) -> float | None:
    figure = grid.figures.get((row, column))
    return figure.value if figure is not None and figure.flag is None else None


def table_of(comparisons: list[Comparison]) -> list[list[str]]:
    """The comparisons as a table."""
    header = ["compared", "n", "mean difference", "t", "p", "p >", "p <", "Holm", "W+", "p", "p >", "p <", "Holm"]
    rows = [header]
    for one in comparisons:
        cells = [f"{one.first} - {one.second}", str(one.result["n"]), _short(one.result["mean"])]
        for test in ("t", "wilcoxon"):
            result = one.result[test]
            cells += [_short(result["statistic"]), *(_short(result[p]) for p in ("p", "p_greater", "p_less"))]
            cells.append(_short(one.holm[test]))
        rows.append(cells)
    return rows


def notes_of(comparisons: list[Comparison], over: str) -> list[str]:
    """The notes of the tests."""
    left = sum(one.left_out for one in comparisons)
    notes = [
        f"Paired over {over}: Student's t and Wilcoxon's signed ranks (exact), p two-sided, p > (the first is above) and p <, and Holm's "
        "correction of the two-sided p over all comparisons."
    ]
    if left:
        notes.append(f"{left} pairs without a number in one of the columns were left out.")
    if comparisons and max(one.result["n"] for one in comparisons) < 6:
        notes.append("Caution: with fewer than 6 pairs Wilcoxon's two-sided p cannot fall below 0.05.")
    return notes


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 0.001 and value else f"{value:.3f}"
