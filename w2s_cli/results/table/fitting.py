"""The layout of a table that is too wide for its page: transposed, or in blocks of columns.

* It is transposed (a row per column) if it then fits: fifty settings over three data sets are easiest to read as fifty lines.
* Else it is split into blocks with as many columns as fit beside the names of the rows, which every block repeats. No cell is cut or
  wrapped.
* If not even one column fits beside the names, the table stays whole, and the terminal wraps it.
"""

from w2s_cli.results.text_table import Rows, plain


def wide(rows: Rows, margin: int = 0) -> int:
    """Characters of the widest line; `margin` more for each column (a rich table's padding)."""
    return max(map(len, plain(rows).splitlines())) + margin * len(rows[0])


def fitted(rows: Rows, names: int, corner: str, width: int, margin: int = 0) -> list[Rows]:
    """The table as one or several tables that fit the page.

    Args:
        rows: the table with its header.
        names: number of first columns that name the row.
        corner: the first word of a transposed table: the name of its rows.
        width: width of the page, in characters.
        margin: as in `wide`.
    """
    if wide(rows, margin) <= width:
        return [rows]
    transposed = _transposed(rows, names, corner)
    if wide(transposed, margin) <= width:
        return [transposed]
    blocks: list[list[int]] = []
    for column in range(names, len(rows[0])):
        if blocks and wide(_columns(rows, names, [*blocks[-1], column]), margin) <= width:
            blocks[-1].append(column)
        else:
            blocks.append([column])
    tables = [_columns(rows, names, block) for block in blocks]
    return tables if all(wide(block, margin) <= width for block in tables) else [rows]


def _transposed(rows: Rows, names: int, corner: str) -> Rows:
    header, *body = rows
    by = " / ".join(header[:names])
    first = [f"{corner}, by {by}" if corner and by else corner or by, *(" / ".join(row[:names]) for row in body)]
    return [first, *([header[column], *(row[column] for row in body)] for column in range(names, len(header)))]


def _columns(rows: Rows, names: int, chosen: list[int]) -> Rows:
    return [[*row[:names], *(row[column] for column in chosen)] for row in rows]
