"""The layout of a table that is too wide for its page: with wrapped names, transposed, or in blocks of columns.

* First the names are wrapped after blanks, commas, slashes and the like, if a row then has few lines. A figure is never cut or wrapped.
* Else it is transposed (a row per column) if it then fits: fifty settings over three data sets are easiest to read as fifty lines.
* Else it is split into blocks with as many columns as fit beside the names of the rows, which every block repeats.
* If not even one column fits beside the wrapped names, the table stays whole, and the terminal wraps it.
"""

from w2s_cli.results import narrow
from w2s_cli.results.text_table import Rows, is_figures, plain

NARROW = 12  # characters to which a column of names may be wrapped
LINES = 3  # of a row whose names are wrapped; more only where a single column does not fit otherwise


def wide(rows: Rows) -> int:
    """Characters of the widest line."""
    return max(map(len, plain(rows).splitlines()))


def fitted(rows: Rows, names: int, corner: str, width: int) -> list[Rows]:
    """The table as one or several tables that fit the page.

    Args:
        rows: the table with its header.
        names: number of first columns that name the row.
        corner: the first word of a transposed table: the name of its rows.
        width: width of the page, in characters.
    """
    if whole := _fit(rows, width):
        return [whole]
    transposed = _transposed(rows, names, corner)
    if wide(transposed) <= width:
        return [transposed]
    blocks: list[list[int]] = []
    for column in range(names, len(rows[0])):
        if blocks and _fit(_columns(rows, names, [*blocks[-1], column]), width):
            blocks[-1].append(column)
        else:
            blocks.append([column])
    tables = [_fit(_columns(rows, names, block), width, most=None) for block in blocks]
    fitting = [table for table in tables if table is not None]
    return fitting if len(fitting) == len(tables) else [rows]


def _fit(rows: Rows, width: int, most: int | None = LINES) -> Rows | None:
    """The table, with wrapped names if it needs them, of rows with at most so many lines; None if it does not fit."""
    if wide(rows) <= width:
        return rows
    thin = wrapped(rows, width)
    few = most is None or max(cell.count("\n") + 1 for row in thin for cell in row) <= most
    return thin if few and wide(thin) <= width else None


def wrapped(rows: Rows, width: int) -> Rows:
    """The table with line breaks in its names and headings, the widest columns first, so that it fits if it can."""
    whole = [list(column) for column in zip(*rows, strict=True)]
    columns = [list(column) for column in whole]
    for column in columns:
        if is_figures(column[1:]):  # a heading is no wider than its figures need
            column[0] = _broken(column[0], max(NARROW, *map(len, column[1:])))
    while (excess := wide(_rows(columns)) - width) > 0:
        widths = [0 if is_figures(column[1:]) else _widest(column) for column in columns]
        most = max(widths)
        if most <= NARROW:
            break
        place = widths.index(most)
        goal = max(NARROW, most - excess, *(other for other in widths if other < most))
        columns[place] = [_broken(cell, goal) for cell in whole[place]]
        if _widest(columns[place]) >= most:
            break
    return _rows(columns)


def _broken(cell: str, width: int) -> str:
    return "\n".join(narrow.wrapped(cell, width, parts=True))


def _widest(column: list[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _rows(columns: list[list[str]]) -> Rows:
    return [list(row) for row in zip(*columns, strict=True)]


def _transposed(rows: Rows, names: int, corner: str) -> Rows:
    header, *body = rows
    by = " / ".join(header[:names])
    first = [f"{corner}, by {by}" if corner and by else corner or by, *(" / ".join(row[:names]) for row in body)]
    return [first, *([header[column], *(row[column] for row in body)] for column in range(names, len(header)))]


def _columns(rows: Rows, names: int, chosen: list[int]) -> Rows:
    return [[*row[:names], *(row[column] for column in chosen)] for row in rows]
