"""The formats of a grid: text, Markdown and LaTeX for people, records (CSV, parquet, JSON) for programs.

* For people a cell has a rounded figure with its interval, a dash with the number of a note if it is missing, a dash alone if a rule for
  pairs leaves it out, or a word if PGR has no meaning. For programs a cell is a record with full precision, flag, counts and stage keys.
* Text is laid out for the width of the terminal (see `fitting`); the other formats keep all columns side by side.
* Only the special characters of a format are escaped.
"""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.table.comparisons import Comparison, table_of
from w2s_cli.results.table.fitting import fitted
from w2s_cli.results.table.grid import Grid, Values, is_pgr
from w2s_cli.results.table.measures import Figure
from w2s_cli.results.text_table import Rows, plain
from w2s_cli.store.files import write_bytes

LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "±": r"$\pm$",
}
MISSING = "–"
PAGE = 140  # characters of a line outside a terminal


def table(grid: Grid, numbers: dict[tuple[Values, Values], int]) -> Rows:
    """Header and rows as text; `numbers` has the note of each missing cell."""
    rows = [[*grid.row_fields, *(grid.label(column) for column in grid.columns)]]
    for row in grid.rows:
        cells = []
        for column in grid.columns:
            figure = grid.figures.get((row, column))
            note = numbers.get((row, column[0]))
            cells.append(shown(grid, column[1], figure) if figure else MISSING + (f"[{note}]" if note else ""))
        rows.append([*row, *cells])
    return rows


def pages(grid: Grid, rows: Rows, width: int, margin: int = 0) -> list[Rows]:
    """The rows of `table` as text tables of at most `width` characters."""
    return fitted(rows, len(grid.row_fields), " / ".join(grid.column_fields), width, margin)


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
        return bounds or ("unbounded" if figure.flag else "-")
    if figure.flag:
        return figure.flag
    if figure.value is None:
        return "-"
    if metric in ("rows", "seeds", "classes"):
        return f"{figure.value:,.0f}"
    counts = figure.counts
    over = f" ({counts['kept']})" if counts else ""  # number of settings of the median or mean
    return f"{figure.value:.{digits}f}{over}" + (f" {bounds}" if bounds and grid.request.intervals else "")


def markdown(rows: Rows, title: str, notes: Sequence[str]) -> str:
    """A GitHub table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    right = ["---:" if place and _numeric([row[place] for row in rows[1:]]) else "---" for place in range(len(rows[0]))]
    body = [line([_markdown(cell) for cell in row]) for row in rows]
    items = [f"* {_markdown(note)}" for note in notes]
    return (
        "\n".join([f"**{_markdown(title)}**", "", body[0], line(right), *body[1:], *([""] if items else []), *items])
        + "\n"
    )


def _markdown(text: str) -> str:
    for sign in "\\`*_|<":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def latex(tables: Sequence[Rows], title: str, notes: Sequence[str]) -> str:
    """booktabs tabulars; title and notes are comments, since the paper has its own caption."""
    lines = [f"% {line}" for line in [title, r"needs \usepackage{booktabs}"]]
    for rows in tables:
        columns = ["r" if _numeric([row[place] for row in rows[1:]]) else "l" for place in range(len(rows[0]))]
        body = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in rows]
        lines += [rf"\begin{{tabular}}{{{''.join(columns)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {' '.join(note.split())}" for note in notes)]) + "\n"


def _latex(text: str) -> str:
    escaped = "".join(LATEX.get(sign, sign) for sign in text)
    return "{" + escaped + "}" if escaped.startswith("[") else escaped  # \\[…] would be a length


def _numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell and cell[0] not in "-–nub"]
    return all(cell[0] in "0123456789.[-" for cell in filled)


def records(grid: Grid) -> list[dict[str, Any]]:
    """One record per cell: its row and column fields, its figure, and the settings, seeds and keys behind it."""
    cells = []
    for row in grid.rows:
        for values, metric in grid.columns:
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


def as_csv(records: Sequence[dict[str, Any]]) -> str:
    """A line per cell; seeds and keys are joined by blanks."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({n: " ".join(map(str, v)) if isinstance(v, list) else v for n, v in record.items()})
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
                {"first": t.first, "second": t.second, "left_out": t.left_out, **t.result, "holm": t.holm}
                for t in tests
            ],
            "missing": [{"row": row, "column": column, "command": command} for row, column, command in commands],
            "notes": list(notes),
        }
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
    parts = [plain(page) for page in [*pages(grid, rows, PAGE if grid.request.out else page_width()), *compared]]
    parts[0] = f"{title}\n{parts[0]}"
    return ("\n\n".join(parts) + "\n" + "".join(f"{note}\n" for note in notes)).encode()


def save(content: bytes, path: Path) -> None:
    """Write the file; UserError if it cannot be written."""
    try:
        write_bytes(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another file with out=FILE") from error
