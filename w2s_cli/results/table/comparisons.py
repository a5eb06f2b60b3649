"""Paired tests between the columns of a table, over its rows: each row (a data set) is one pair.

* A row counts if both columns have a number; flagged gaps and missing cells are left out and counted.
* Like is compared: of two cells only the pairs of models and the seeds count that both have. The table itself shows every seed, with their
  number. A column that is a seed, or one of two models, is compared as it is.
* Holm's correction is over the two-sided p values of all comparisons of one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.fields import POOLED
from w2s_cli.results.table.grid import Grid, Values
from w2s_cli.results.table.settings import Setting, with_seeds

Column = tuple[Values, str]
TESTS = {"t": "t", "wilcoxon": "W+"}  # test → its statistic
OF_TEST = ("", " p", " p >", " p <", " Holm")  # columns of a test: its statistic, p values and the corrected p


@dataclass(frozen=True)
class Pair:
    """One row of a test: the figures of both columns over the same models and seeds."""

    row: Values
    first: float
    second: float
    seeds: list[int]
    cut: bool  # whether one of the cells has further seeds or models


@dataclass(frozen=True)
class Comparison:
    """One pair of columns."""

    first: str
    second: str
    left_out: int  # rows without a number in one of them
    pairs: list[Pair]
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
        both = [pair for row in grid.rows if (pair := _pair(grid, row, first, second))]
        result = paired_tests([pair.first for pair in both], [pair.second for pair in both])
        tested.append((grid.label(first), grid.label(second), len(grid.rows) - len(both), both, result))
    corrected = {test: holm([result[test]["p"] for *_, result in tested]) for test in TESTS}
    return [
        Comparison(*test_result, {test: corrected[test][place] for test in corrected})
        for place, test_result in enumerate(tested)
    ]


def _pair(grid: Grid, row: Values, first: Column, second: Column) -> Pair | None:
    """Both columns of a row over what they share; None without a number in one of them."""
    whole = [grid.cells.get((row, values), []) for values, _ in (first, second)]
    cells = shared(*whole, apart=grid.column_fields)
    figures = [grid.figure(cell, metric) for cell, (_, metric) in zip(cells, (first, second), strict=True) if cell]
    values = [figure.value for figure in figures if figure.value is not None and figure.flag is None]
    if len(values) < 2:
        return None
    seeds = sorted({seed for setting in cells[0] for seed in setting.seeds})
    return Pair(row, values[0], values[1], seeds, cut=cells != whole)


def shared(a: Sequence[Setting], b: Sequence[Setting], *, apart: Sequence[str]) -> list[list[Setting]]:
    """The settings of two cells with the same models, data and seeds; the fields `apart` differ between the cells by design."""
    names = [name for name in POOLED if name not in apart]
    groups: dict[tuple[Any, ...], tuple[list[Setting], list[Setting]]] = {}
    for side, cell in enumerate((a, b)):
        for setting in cell:
            groups.setdefault(tuple(setting.value(name) for name in names), ([], []))[side].append(setting)
    cells: list[list[Setting]] = [[], []]
    for sides in groups.values():
        if not all(sides):
            continue
        seeds = set.intersection(*(set(setting.seeds) for settings in sides for setting in settings))
        parts = [[s if "seed" in apart else with_seeds(s, seeds) for s in settings] for settings in sides]
        kept = [[part for part in settings if part is not None] for settings in parts]
        if kept == parts:
            for cell, settings in zip(cells, kept, strict=True):
                cell += settings
    return cells


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


def table_of(comparisons: list[Comparison]) -> list[list[str]]:
    """The comparisons as a table; without the columns of tests if no comparison has enough pairs for one."""
    tests = [
        test for test in TESTS if any(comparison.result[test]["statistic"] is not None for comparison in comparisons)
    ]
    header = ["compared", "n", "seeds", "mean difference"]
    rows = [[*header, *(f"{TESTS[test]}{of}" for test in tests for of in OF_TEST)]]
    for comparison in comparisons:
        cells = [
            f"{comparison.first} - {comparison.second}",
            str(comparison.result["n"]),
            _seeds(comparison.pairs),
            _short(comparison.result["mean"]),
        ]
        for test in tests:
            result = comparison.result[test]
            cells += [_short(result["statistic"]), *(_short(result[p]) for p in ("p", "p_greater", "p_less"))]
            cells.append(_short(comparison.holm[test]))
        rows.append(cells)
    return rows


def _seeds(both: list[Pair]) -> str:
    """The number of seeds behind each figure of a comparison."""
    counts = sorted({len(pair.seeds) for pair in both})
    return "-" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def notes_of(comparisons: list[Comparison], over: str) -> list[str]:
    """The notes of the tests."""
    from w2s_cli.statistics.paired import LEAST

    left = sum(comparison.left_out for comparison in comparisons)
    notes = [
        f"Paired over {over}: Student's t and Wilcoxon's signed ranks (exact), p two-sided, p > (the first is above) and p <, and Holm's "
        "correction of the two-sided p over all comparisons."
    ]
    if left:
        notes.append(
            f"{'1 pair' if left == 1 else f'{left} pairs'} without a number in one of the columns "
            f"{'is' if left == 1 else 'are'} left out."
        )
    cut = sum(pair.cut for comparison in comparisons for pair in comparison.pairs)
    if cut:
        notes.append(
            f"The tests take only the seeds and models that both columns have, so {'1 pair rests' if cut == 1 else f'{cut} pairs rest'} on "
            "fewer results than the table shows."
        )
    counts = [comparison.result["n"] for comparison in comparisons]
    if counts and min(counts) < LEAST:
        notes.append(
            f"No test of fewer than {LEAST} pairs. rows={over.replace(', ', ',')},seed makes each seed a pair."
            if "seed" not in over.split(", ")
            else f"No test of fewer than {LEAST} pairs."
        )
    if counts and LEAST <= max(counts) < 6:
        notes.append("Caution: with fewer than 6 pairs Wilcoxon's two-sided p cannot fall below 0.05.")
    return notes


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 0.001 and value else f"{value:.3f}"
