"""The grid of a table: settings as rows × columns of figures, with the notes under the table.

* The rows are the combinations of values of the settings, and so are the columns. A combination without a setting is a missing cell.
* A pair of models that the sweep's rule leaves out (pairs=upper) is no missing cell (see `missing.left_out`).
* A field with one value in all cells moves to the title; "others" stands for further fields that distinguish settings
  (see `distinguishing`).
* Paired tests need two columns in a row: a table with tests leaves out and counts the settings with a single column.
* Values have the order of a filter that lists them, else they are sorted, numbers by size.
* A cell of settings that differ in other fields than models and data has a caution, since it mixes distinct settings.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.fields import POOLED, check_field, shown, spelled, value_of
from w2s_cli.results.reader import Entry
from w2s_cli.results.table.distinguishing import OTHERS, differing, others, shown_in
from w2s_cli.results.table.measures import PGR, Baselines, Figure, check_metric, figure, present
from w2s_cli.results.table.request import Request
from w2s_cli.results.table.settings import Setting
from w2s_cli.statistics import ROLES
from w2s_cli.statistics.doubts import is_doubtful

Values = tuple[str, ...]
LONG = 30  # characters of a path of which a table shows the end only; a note has the whole path


@dataclass
class Grid:
    """A table without a format."""

    request: Request
    row_fields: list[str]
    column_fields: list[str]
    rows: list[Values]
    columns: list[tuple[Values, str]]  # values of the column fields, metric
    cells: dict[tuple[Values, Values], list[Setting]]
    figures: dict[tuple[Values, tuple[Values, str]], Figure]
    shared: dict[str, str]  # row and column fields with one value in all cells
    baselines: Baselines | None = None  # of baselines=mean
    cautions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[tuple[Values, Values], str] = field(default_factory=dict)  # (row, column values) → rule for pairs

    def label(self, column: tuple[Values, str]) -> str:
        """'naive / xent', 'pgr', or 'xent: student' if the table has several metrics."""
        values, metric = column
        if not values:
            heading = title_of(metric)
            return f"{heading} acc." if heading in self.row_fields else heading  # "weak": the model, and its accuracy
        label = " / ".join(self.brief.get(value, value) for value in values if value != "-") or "-"
        return f"{label}: {title_of(metric)}" if len(self.request.metric) > 1 else label

    @property
    def by_column(self) -> list[Values]:
        """The values of the column fields, without the metrics."""
        return list(dict.fromkeys(values for values, _ in self.columns))

    @cached_property
    def brief(self) -> dict[str, str]:
        """Long path among the values → its end."""
        return ends_of(
            {*self.shared.values(), *(value for values in (*self.rows, *self.by_column) for value in values)}
        )

    def figure(self, cell: Sequence[Setting], metric: str) -> Figure:
        """The figure of these settings by the rules of the request."""
        doubtful = any(is_doubtful(setting.metrics) for setting in cell)
        return replace(figure(cell, metric, self.request.aggregate, self.baselines), doubtful=doubtful)

    def missing(self) -> list[tuple[Values, Values]]:
        """The (row, column values) of missing cells, without pairs that a rule leaves out."""
        empty = [(row, values) for row in self.rows for values in self.by_column if not self.cells.get((row, values))]
        return [cell for cell in empty if cell not in self.left_out]


def ends_of(texts: Collection[str]) -> dict[str, str]:
    """Long path → '…/' and its last parts, as many as distinguish it from the other texts."""
    parts = {text: text.split("/") for text in texts}
    ends = {}
    for text, own in parts.items():
        if len(text) <= LONG or len(own) < 3:  # a hub's owner/name is no path
            continue
        others = [other for one, other in parts.items() if one != text]
        count = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        ends[text] = min(text, f"…/{'/'.join(own[-count:])}", key=len)
    return {text: end for text, end in ends.items() if end != text}


def title_of(metric: str) -> str:
    """The heading of a metric."""
    name = metric.replace("pgr_auroc", "PGR (AUROC)").replace("pgr.interval", "interval")
    return "PGR" if name == "pgr" else name.replace("auroc", "AUROC").replace("ece", "ECE")


def named(metric: str) -> str:
    """A metric in a title: 'PGR', 'student accuracy', 'weak AUROC'."""
    heading = title_of(metric.removesuffix(".interval"))
    return f"{heading} accuracy" if heading in ROLES else heading.replace(".", " ")


def select(entries: Sequence[Entry], where: dict[str, list[str]]) -> list[Entry]:
    """The entries that satisfy a filter.

    Raises:
        UserError: a field or a value that no entry has.
    """
    for name, wanted in where.items():
        if name == "seed":  # a summary has no single seed
            entries = [entry for entry in entries if not entry.summarises]
        check_field(entries, name)
        values = {word for entry in entries for word in _names(value_of(entry, name))}
        spellings = {word for value in wanted for word in (value, spelled(value))}
        unknown = [value for value in wanted if not values & {value, spelled(value)}]
        if unknown:
            listed = ", ".join(sorted(values)[:12])
            raise UserError(f'no result has {name} "{unknown[0]}". Known: {listed}.')
        entries = [entry for entry in entries if _names(value_of(entry, name)) & spellings]
    if not entries:
        raise UserError("no result satisfies these filters: leave one out.")
    return list(entries)


def _names(value: Any) -> set[str]:
    """The words of a filter for a value: the value, or an item of a list."""
    return {shown(value), *(shown(item) for item in value)} if isinstance(value, list) else {shown(value)}


def lay_out(request: Request, settings: Sequence[Setting], every: Sequence[Setting]) -> Grid:
    """The table of `settings`; `every` has all stored settings, for baselines=mean.

    Raises:
        UserError: a row or column field, or a metric, that no result has.
    """
    entries = [setting.entry for setting in settings]
    other_fields = (
        others(entries, [*request.rows, *request.columns]) if OTHERS in (*request.rows, *request.columns) else []
    )
    names_by_side = [
        [field_name for name in names for field_name in (other_fields if name == OTHERS else [name])]
        for names in (request.rows, request.columns)
    ]
    for name in [*names_by_side[0], *names_by_side[1]]:
        if name not in other_fields:
            check_field(entries, name)
    asked, request = request.metric, replace(request, metric=present(request.metric, settings))
    for metric in request.metric:
        check_metric(metric, settings)
    all_names = [*names_by_side[0], *names_by_side[1]]
    placed: list[tuple[list[Values], Setting]] = []  # values of the row and of the column fields
    for setting in settings:
        placed.append(
            ([tuple(shown_in(setting.entry, name, all_names) for name in names) for names in names_by_side], setting)
        )
    placed, without_pair = (
        _compared(placed, *names_by_side) if request.tests and request.tests != ["none"] else (placed, 0)
    )
    shared: dict[str, str] = {}
    kept: list[list[int]] = []  # positions of the fields that are shown
    for side, names in enumerate(names_by_side):
        values_of_side = [values[side] for values, _ in placed]
        varying = [i for i in range(len(names)) if len({values[i] for values in values_of_side}) > 1]
        varying = varying or [*range(len(names))][:1]
        shared |= {name: values_of_side[0][i] for i, name in enumerate(names) if i not in varying}
        kept.append(varying)
    fields = [[names[i] for i in places] for names, places in zip(names_by_side, kept, strict=True)]
    cells: dict[tuple[Values, Values], list[Setting]] = {}
    for (row, column), setting in placed:
        position = tuple(row[i] for i in kept[0]), tuple(column[i] for i in kept[1])
        cells.setdefault(position, []).append(setting)
    rows = _ordered({row for row, _ in cells}, fields[0], request.where)
    values = _ordered({column for _, column in cells}, fields[1], request.where)
    columns = [(value, metric) for value in values for metric in request.metric]
    grid = Grid(request, fields[0], fields[1], rows, columns, cells, {}, shared)
    grid.baselines = Baselines(every) if request.baselines == "mean" else None
    for (row, column), cell in cells.items():
        for metric in request.metric:
            grid.figures[row, (column, metric)] = grid.figure(cell, metric)
    if without_pair:
        kind = f"with one {' / '.join(fields[1]) or 'column'} only"
        line = f"{without_pair} settings {kind} are left out; tests=none shows them."
        grid.notes.append(line if without_pair > 1 else f"1 setting {kind} is left out; tests=none shows it.")
    if request.metric != asked:
        absent = [title_of(name) for name in asked if name not in request.metric and not name.endswith(".interval")]
        labels = " labels: accuracy of the labels of the student's rows." if "labels" in request.metric else ""
        grid.notes.append(f"No {', '.join(absent)}: no result has these roles' predictions of the test rows.{labels}")
    grid.cautions = [*pooled(cells.values()), *dict.fromkeys(text for setting in settings for text in setting.cautions)]
    return grid


def _compared(
    placed: list[tuple[list[Values], Setting]], rows: Sequence[str], columns: Sequence[str]
) -> tuple[list[tuple[list[Values], Setting]], int]:
    """(settings with a compared row, number of the others): apart from models and data, their row has several columns."""
    if not columns:
        return placed, 0

    def fields_of_row(values: list[Values]) -> Values:
        return tuple(value for name, value in zip(rows, values[0], strict=True) if name not in POOLED)

    columns_of: dict[Values, set[Values]] = {}
    for values, _ in placed:
        columns_of.setdefault(fields_of_row(values), set()).add(values[1])
    kept = [item for item in placed if len(columns_of[fields_of_row(item[0])]) > 1]
    return (kept, len(placed) - len(kept)) if kept else (placed, 0)


def _ordered(values: Iterable[Values], names: Sequence[str], where: dict[str, list[str]]) -> list[Values]:
    """Sorted by the order of the filters, else by number and name."""

    def place(value: Values) -> list[tuple[Any, ...]]:
        return [
            (where[name].index(one),) if name in where and one in where[name] else natural(one)
            for name, one in zip(names, value, strict=True)
        ]

    return sorted(values, key=place)


def natural(text: str) -> tuple[Any, ...]:
    """A sort key: numbers by size, also inside names ("pythia-70m" before "pythia-160m"); an unset value last."""
    try:
        return (0, float(text))
    except ValueError:
        parts = re.split(r"(\d+\.?\d*)", text)
        return (
            2 if text == "-" else 1,
            tuple((0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts)),
        )


def pooled(cells: Iterable[Sequence[Setting]]) -> list[str]:
    """Cautions about cells whose settings differ in other fields than models and data."""
    differences: dict[str, set[str]] = {}
    for cell in cells:
        if len(cell) < 2:
            continue
        groups: dict[str, list[Setting]] = {}
        for setting in cell:
            groups.setdefault(str(setting.entry.fields), []).append(setting)
        for group in groups.values():
            for name, values in differing([setting.entry for setting in group]).items():
                differences.setdefault(name, set()).update(values)
        for name in {name for setting in cell for name in setting.entry.fields if name not in POOLED}:
            values = {shown(setting.value(name)) for setting in cell}
            if len(values) > 1:
                differences.setdefault(name, set()).update(values)
    if not differences:
        return []
    described = [
        f"{name} ({', '.join(sorted(values, key=natural)[:4])})" for name, values in sorted(differences.items())
    ]
    first = sorted(differences)[0]
    rest = f" and {len(described) - 4} more" if len(described) > 4 else ""
    value = sorted(differences[first], key=natural)[0]
    return [
        f"some cells pool settings that differ in {', '.join(described[:4])}{rest}: add rows=…,{first}, or choose one with {first}={value}"
    ]


def is_pgr(metric: str) -> bool:
    return metric.removesuffix(".interval") in PGR
