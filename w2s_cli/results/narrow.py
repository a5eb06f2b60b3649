"""A table that is wider than its terminal: its cells are wrapped between words, or each row becomes a block of lines.

* No cell is cut: a key, a path or a figure that ends in "…" can be neither read nor copied. An interval, "[0.1, 0.2]", stays in one piece.
* The column that costs the fewest lines is wrapped first. Only where words are not enough, a name is broken after its hyphens, slashes
  and the like.
* Where even that does not fit, a row is printed as `column: value` pairs below its first cell.
"""

import re
import textwrap
from collections.abc import Sequence
from functools import cache

Rows = list[list[str]]

GAP = 2  # spaces between two columns
WORD = re.compile(r"\[[^\[\]]*\]\S*|\S+")
PART = re.compile(r"[\d-]+$|[^-/_,=>+]*[-/_,=>+]+|[^-/_,=>+]+")  # a date is one part


def fitted(rows: Rows, width: int) -> Rows | None:
    """The table with line breaks in its cells, at most `width` characters wide; None if no wrapping gives that.

    Args:
        rows: the header and the rows; a cell may have line breaks, which stay if the table fits with them.
    """
    if (
        sum(max(len(line) for cell in column for line in cell.split("\n")) + GAP for column in zip(*rows, strict=True))
        <= width + GAP
    ):
        return rows
    columns = [tuple(column) for column in zip(*rows, strict=True)]
    room = width - GAP * (len(columns) - 1)
    for parts in (False, True):
        least = [_least(column, parts) for column in columns]
        if sum(least) <= room:
            widths = _narrowed(columns, least, room, parts)
            return [["\n".join(wrapped(cell, w, parts)) for cell, w in zip(row, widths, strict=True)] for row in rows]
    return None


def _narrowed(columns: Sequence[tuple[str, ...]], least: Sequence[int], room: int, parts: bool) -> list[int]:
    """Widths of the columns that together have at most `room` characters."""

    @cache
    def heights(place: int, width: int) -> list[int]:
        return [len(wrapped(cell, width, parts)) for cell in columns[place]]

    def lines(widths: Sequence[int]) -> tuple[int, int]:
        """Of the table, and of all its cells."""
        of_columns = [heights(place, width) for place, width in enumerate(widths)]
        return sum(map(max, zip(*of_columns, strict=True))), sum(map(sum, of_columns))

    widths = [max(map(len, column)) for column in columns]
    while sum(widths) > room:
        tried = []
        for place, column in enumerate(columns):
            if widths[place] > least[place]:
                width = max(len(line) for cell in column for line in wrapped(cell, widths[place] - 1, parts))
                tried.append([*widths[:place], width, *widths[place + 1 :]])
        widths = min(tried, key=lambda each: (*lines(each), max(each)))
    return widths


def _least(column: Sequence[str], parts: bool) -> int:
    """The width of the widest piece of a column."""
    return max(len(line) for cell in column for line in wrapped(cell, 1, parts))


def wrapped(cell: str, width: int, parts: bool) -> list[str]:
    """The lines of a cell, of at most `width` characters where its pieces allow; its indentation stands before each line.

    With `parts`, a word that is longer than a line has several pieces.
    """
    if len(cell) <= width:
        return [cell]
    text = cell.lstrip(" ")
    indent = cell[: len(cell) - len(text)]
    lines = [indent]
    for word in WORD.findall(text):
        for number, piece in enumerate(
            PART.findall(word) if parts and len(word) > width and not word.startswith("[") else [word]
        ):
            space = " " if number == 0 and lines[-1].strip() else ""
            if lines[-1].strip() and len(lines[-1] + space + piece) > width:
                lines.append(indent + piece)
            else:
                lines[-1] += space + piece
    return lines


def blocks(rows: Rows, width: int) -> str:
    """Each row as its first cell and, below it, `column: value` pairs of the other filled cells."""
    header, *body = rows
    lines = []
    for first, *cells in body:
        pairs = zip(header[1:], cells, strict=True)
        lines += [first or "-", *flowed([f"{name}: {cell.strip()}" for name, cell in pairs if cell], width, "    ")]
    return "\n".join(lines)


def flowed(items: Sequence[str], width: int, indent: str = "") -> list[str]:
    """Lines of at most `width` characters with as many items, joined by commas, as fit; an item is broken only if it is too long."""
    lines: list[str] = []
    for number, item in enumerate(items):
        text = item + ("," if number < len(items) - 1 else "")
        if lines and len(f"{lines[-1]} {text}") <= width:
            lines[-1] += f" {text}"
        else:
            lines += prose(text, width, indent)
    return lines


def prose(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most `width` characters; a longer word, such as a path, has a line of its own and is not broken."""
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
