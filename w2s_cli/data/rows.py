"""The rows of one split, in one form for all file formats.

A row is a dictionary. A column can be read without rows, and rows are made only for the chosen indices.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from w2s_cli.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Rows:
    """One split."""

    shown: str  # the file, for messages
    columns: tuple[str, ...]
    count: int
    column: Callable[[str], list[Any]]  # all values of one column
    take: Callable[[Sequence[int]], Iterator[dict[str, Any]]]  # the rows at some indices, lazily

    def need(self, column: str, option: str) -> str:
        """`column`, if it exists, else UserError; `option` is the setting with its name."""
        if column not in self.columns:
            raise UserError(f'{self.shown} has no column "{column}" ({option}).{did_you_mean(column, self.columns)}')
        return column
