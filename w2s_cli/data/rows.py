"""The rows of one split as the other files here see them, whatever they were read from.

A row is a dictionary. Columns can be looked at without making rows, and rows are made only for the indices that are asked for.
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
        """`column`, if there is such a column; `option` is where its name was given."""
        if column not in self.columns:
            raise UserError(f'{self.shown} has no column "{column}" ({option}).{did_you_mean(column, self.columns)}')
        return column
