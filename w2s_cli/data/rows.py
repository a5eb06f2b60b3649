"""The rows of one split, in one form for all file formats.

A row is a dictionary. A column can be read without rows, and rows are made only for the chosen indices.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.errors import UserError, did_you_mean


class Part(NamedTuple):
    """The rows of one file of a split."""

    file: Path
    rows: int
    columns: Sequence[str]
    lines: Sequence[int] = ()  # of a text file with a row a line: the line on which each row begins


@dataclass(frozen=True)
class Rows:
    """One split."""

    shown: str  # the file, for messages
    columns: tuple[str, ...]
    count: int
    column: Callable[[str], list[Any]]  # all values of one column
    take: Callable[[Sequence[int]], Iterator[dict[str, Any]]]  # the rows at some indices, lazily
    parts: Sequence[Part]  # the files, in the order of their rows

    def place(self, index: int) -> str:
        """A row for messages: "animals.csv, line 17" where rows have lines, else "animals.parquet, row 16", counted from 1."""
        for part in self.parts:
            if index < part.rows:
                return f"{part.file}, line {part.lines[index]}" if part.lines else f"{part.file}, row {index + 1}"
            index -= part.rows
        raise IndexError(index)

    def need(self, column: str, option: str) -> str:
        """`column`, if every file has it, else UserError; `option` is the setting with its name."""
        if column not in self.columns:
            raise UserError(f'{self.shown} has no column "{column}" ({option}).{did_you_mean(column, self.columns)}')
        for part in self.parts:
            if part.rows and column not in part.columns:
                raise UserError(
                    f'{part.file} has no column "{column}" ({option}), as the other files of its split have.'
                )
        return column
