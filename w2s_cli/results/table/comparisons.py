"""Paired tests between the columns of a table, over its rows: each row (a data set) is one pair.

* A row counts if both columns have a number; flagged gaps and missing cells are left out and counted.
* Holm's correction is over the two-sided p values of all comparisons of one table.
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
    result: dict[str, Any]  # result of w2s_cli.statistics.paired
    holm: dict[str, float | None]  # test → corrected two-sided p


def compare(grid: Grid) -> list[Comparison]:
    """The comparisons of the request.

    Raises:
        UserError: a column that the table does not have.
    """
    from w2s_cli.statistics.paired import holm, paired_tests

    tested = []
    for first, second in pairs(grid):
        both = []
        for row in grid.rows:
            values = [_number(grid, row, column) for column in (first, second)]
            if None not in values:
                both.append(values)
        result = paired_tests([value for value, _ in both], [value for _, value in both])  # type: ignore[misc]
        tested.append((grid.label(first), grid.label(second), len(grid.rows) - len(both), result))
    corrected = {test: holm([result[test]["p"] for *_, result in tested]) for test in ("t", "wilcoxon")}
    return [
        Comparison(*test_result, {test: corrected[test][place] for test in corrected})
        for place, test_result in enumerate(tested)
    ]


def pairs(grid: Grid) -> list[tuple[Column, Column]]:
    """The compared columns: all pairs of one metric, each column with the first, or the named pairs."""
    columns = [column for column in grid.columns if not column[1].endswith(".interval")]
    by_metric: dict[str, list[Column]] = {}
    for column in columns:
        by_metric.setdefault(column[1], []).append(column)
    chosen_pairs: list[tuple[Column, Column]] = []
    for test in grid.request.tests:
        if test == "none":
            return []
        if test in ("all", "first"):
            for group in by_metric.values():
                chosen_pairs += (
                    list(combinations(group, 2)) if test == "all" else [(other, group[0]) for other in group[1:]]
                )
            continue
        names = test.split(":")
        if len(names) != 2:
            raise UserError(f"tests={test}: write COLUMN:COLUMN, all, first or none; for example tests=logconf:xent")
        chosen = [[column for column in columns if name in ("/".join(column[0]), grid.label(column))] for name in names]
        for name, matches in zip(names, chosen, strict=True):
            if not matches:
                labels = ["/".join(values) for values, _ in columns]
                raise UserError(f'tests={test}: the table has no column "{name}".{did_you_mean(name, set(labels))}')
        chosen_pairs += [(a, b) for a in chosen[0] for b in chosen[1] if a[1] == b[1] or grid.label(a) in names]
    return chosen_pairs


def _number(grid: Grid, row: Values, column: Column) -> float | None:
    figure = grid.figures.get((row, column))
    return figure.value if figure is not None and figure.flag is None else None


def table_of(comparisons: list[Comparison]) -> list[list[str]]:
    """The comparisons as a table."""
    header = ["compared", "n", "mean difference", "t", "p", "p >", "p <", "Holm", "W+", "p", "p >", "p <", "Holm"]
    rows = [header]
    for comparison in comparisons:
        cells = [
            f"{comparison.first} - {comparison.second}",
            str(comparison.result["n"]),
            _short(comparison.result["mean"]),
        ]
        for test in ("t", "wilcoxon"):
            result = comparison.result[test]
            cells += [_short(result["statistic"]), *(_short(result[p]) for p in ("p", "p_greater", "p_less"))]
            cells.append(_short(comparison.holm[test]))
        rows.append(cells)
    return rows


def notes_of(comparisons: list[Comparison], over: str) -> list[str]:
    """The notes of the tests."""
    left = sum(comparison.left_out for comparison in comparisons)
    notes = [
        f"Paired over {over}: Student's t and Wilcoxon's signed ranks (exact), p two-sided, p > (the first is above) and p <, and Holm's "
        "correction of the two-sided p over all comparisons."
    ]
    if left:
        notes.append(f"{left} pairs without a number in one of the columns were left out.")
    if comparisons and max(comparison.result["n"] for comparison in comparisons) < 6:
        notes.append("Caution: with fewer than 6 pairs Wilcoxon's two-sided p cannot fall below 0.05.")
    return notes


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 0.001 and value else f"{value:.3f}"
