"""The formats of a grid: text, Markdown and LaTeX for people, records (CSV, parquet, JSON) for programs.

* For people a cell has a rounded figure with its interval, a dash with the number of a note if it is missing, a dash alone if a rule for
  pairs leaves it out, or "no gap" for a PGR that is no number.
* For programs a cell is a record with full precision, flag, counts and stage keys.
* Text is laid out for the width of the terminal (see `fitting`); the other formats keep all columns side by side.
* `escaping` has the special characters of each format.
"""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.escaping import beyond_latex, csv_cell, latex_comment, one_line
from w2s_cli.results.escaping import latex as latex_text
from w2s_cli.results.escaping import markdown as markdown_text
from w2s_cli.results.table.comparisons import Comparison, table_of
from w2s_cli.results.table.fitting import fitted
from w2s_cli.results.table.grid import Grid, Values, is_pgr
from w2s_cli.results.table.measures import DOUBT, Figure
from w2s_cli.results.table.settings import Setting
from w2s_cli.results.text_table import NO_GAP, Rows, is_figures, plain
from w2s_cli.store.files import write_bytes

MISSING = "–"
PAGE = 140  # characters of a line outside a terminal


def table(grid: Grid, numbers: dict[tuple[Values, Values], int]) -> Rows:
    """Header and rows as text; `numbers` has the note of each missing cell.

    If the cells have different numbers of seeds, n stands in every cell, or in a column of its own if a row is one setting.
    """
    counted = len({seeds_in(cell) for cell in grid.cells.values()}) > 1
    own_column = counted and not grid.column_fields
    rows = [[*grid.row_fields, *(["n"] if own_column else []), *(grid.label(column) for column in grid.columns)]]
    for row in grid.rows:
        cells = [seeds_in(grid.cells[row, ()])] if own_column else []
        for column in grid.columns:
            figure = grid.figures.get((row, column))
            note = numbers.get((row, column[0]))
            text = shown(grid, column[1], figure) if figure else MISSING + (f"[{note}]" if note else "")
            in_cell = counted and not own_column and figure is not None and not figure.interval_only
            cells.append(f"{text} n={seeds_in(grid.cells[row, column[0]])}" if in_cell else text)
        rows.append([*(one_line(grid.brief.get(value, value)) for value in row), *cells])
    return rows


def seeds_in(cell: Sequence[Setting]) -> str:
    """The number of seeds of a cell's settings: '5', or '3–5'."""
    counts = sorted({len(setting.seeds) for setting in cell})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def pages(grid: Grid, rows: Rows, width: int) -> list[Rows]:
    """The rows of `table` as text tables of at most `width` characters."""
    return fitted(rows, len(grid.row_fields), " / ".join(grid.column_fields), width)


def pages_of_tests(tests: Sequence[Comparison], width: int) -> list[Rows]:
    """The comparisons as text tables of at most `width` characters."""
    return fitted(table_of(list(tests)), 1, "", width) if tests else []


def page_width() -> int:
    """The width of the terminal in characters; for a pipe the value of COLUMNS, or PAGE."""
    return shutil.get_terminal_size((PAGE, 24)).columns


def shown(grid: Grid, metric: str, figure: Figure) -> str:
    """The text of one cell."""
    digits = grid.request.digits
    if digits is None:
        digits = 2 if is_pgr(metric) else 3
    bounds = f"[{figure.interval[0]:.{digits}f}, {figure.interval[1]:.{digits}f}]" if figure.interval else ""
    if figure.interval_only:
        return bounds or "-"
    if figure.flag:
        return NO_GAP
    if figure.value is None:
        return "-"
    if metric in ("rows", "seeds", "classes"):
        return f"{figure.value:,.0f}"
    counts = figure.counts
    over = f" ({counts['kept']})" if counts else ""  # number of settings of the median or mean
    mark = DOUBT if figure.doubtful else ""
    return f"{figure.value:.{digits}f}{mark}{over}" + (f" {bounds}" if bounds and grid.request.intervals else "")


def markdown(rows: Rows, title: str, notes: Sequence[str]) -> str:
    """A GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    right = ["---:" if is_figures(column) else "---" for column in _columns(rows)]
    body = [line([markdown_text(cell) for cell in row]) for row in rows]
    items = [f"* {markdown_text(note)}" for note in notes]
    heading = f"**{markdown_text(title)}**"
    return "\n".join([heading, "", body[0], line(right), *body[1:], *([""] if items else []), *items]) + "\n"


def _columns(rows: Rows) -> list[list[str]]:
    """The cells of each column, without the header."""
    return [[row[place] for row in rows[1:]] for place in range(len(rows[0]))]


def latex(tables: Sequence[Rows], title: str, notes: Sequence[str]) -> str:
    """booktabs tabulars, one below the other; title and notes are comments, since the paper has its own caption."""
    tabulars = []
    for rows in tables:
        columns = "".join("r" if is_figures(column) else "l" for column in _columns(rows))
        body = [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in rows]
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
        tabulars.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    needs = r"needs \usepackage{booktabs}"
    if signs := beyond_latex("".join(cell for rows in tables for row in rows for cell in row)):
        needs += f", and XeLaTeX or LuaLaTeX with a font that has {signs}"
    head = [latex_comment(title), latex_comment(needs)]
    below = "\n\n\\bigskip\n\n"  # an empty line: the next tabular begins a paragraph
    return "\n".join([*head, below.join(tabulars), *(latex_comment(note) for note in notes)]) + "\n"


def records(grid: Grid) -> list[dict[str, Any]]:
    """One record per cell: its row and column fields, its figure, and the settings, seeds and keys behind it.

    A column of intervals beside its metric has no records, since every record has its interval.
    """
    cells = []
    columns = [(values, metric) for values, metric in grid.columns if not _repeats(metric, grid.request.metric)]
    for row in grid.rows:
        for values, metric in columns:
            cell, figure = grid.cells.get((row, values), []), grid.figures.get((row, (values, metric)))
            low, high = figure.interval if figure and figure.interval else (None, None)
            fields = {**grid.shared, **dict(zip(grid.row_fields, row, strict=True))}
            cells.append(
                {
                    **fields,
                    **dict(zip(grid.column_fields, values, strict=True)),
                    "metric": metric,
                    "value": figure.value if figure else None,
                    "low": low,
                    "high": high,
                    "flag": figure.flag if figure else "left out" if (row, values) in grid.left_out else "missing",
                    "settings": len(cell),
                    "counted": figure.counts.get("kept", len(cell)) if figure else 0,
                    "seeds": sorted({seed for setting in cell for seed in setting.seeds}),
                    "keys": [key for setting in cell for key in setting.keys],
                }
            )
    return cells


def _repeats(metric: str, metrics: Sequence[str]) -> bool:
    return metric.endswith(".interval") and metric.removesuffix(".interval") in metrics


def as_csv(records: Sequence[dict[str, Any]]) -> str:
    """A line per cell; seeds and keys are joined by blanks."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in records[0]])
    for record in records:
        cells = (" ".join(map(str, value)) if isinstance(value, list) else value for value in record.values())
        writer.writerow([csv_cell(cell) for cell in cells])
    return out.getvalue()


def as_parquet(records: Sequence[dict[str, Any]]) -> bytes:
    """The records, with lists for seeds and keys."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "settings": pa.int64(),
        "counted": pa.int64(),
    }
    kinds |= {"seeds": pa.list_(pa.int64()), "keys": pa.list_(pa.string())}
    columns = {
        name: pa.array([record[name] for record in records], kinds.get(name, pa.string())) for name in records[0]
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def render(
    grid: Grid,
    title: str,
    notes: Sequence[str],
    numbers: dict[tuple[Values, Values], int],
    tests: Sequence[Comparison],
    commands: Sequence[tuple[Values, Values, str | None]],
) -> bytes:
    """The table in the format of the request."""
    rows, written_as = table(grid, numbers), grid.request.written_as
    compared = [table_of(list(tests))] if tests else []
    if written_as == "markdown":
        second = "\n" + markdown(compared[0], "paired tests", []) if compared else ""
        return (markdown(rows, title, notes) + second).encode()
    if written_as == "latex":
        return latex([rows, *compared], title, notes).encode()
    if written_as == "csv":
        return as_csv(records(grid)).encode()
    if written_as == "parquet":
        return as_parquet(records(grid))
    if written_as == "json":
        content = {
            "title": title,
            "cells": records(grid),
            "tests": [
                {
                    **{"first": t.first, "second": t.second, "left_out": t.left_out, **t.result, "holm": t.holm},
                    "pairs": [asdict(pair) for pair in t.pairs],
                }
                for t in tests
            ],
            "missing": [{"row": row, "column": column, "command": command} for row, column, command in commands],
            "notes": list(notes),
        }
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
    width = PAGE if grid.request.out else page_width()
    parts = [plain(page) for page in [*pages(grid, rows, width), *pages_of_tests(tests, width)]]
    parts[0] = f"{title}\n{parts[0]}"
    return ("\n\n".join(parts) + "\n" + "".join(f"{note}\n" for note in notes)).encode()


def save(content: bytes, path: Path) -> None:
    """Write the file; UserError if it cannot be written."""
    try:
        write_bytes(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another file with out=FILE") from error
