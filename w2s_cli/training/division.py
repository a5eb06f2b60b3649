"""The rows of an effective batch divided among the processes of a stage.

* Rows are dealt, the longest first, each to the process with the fewest tokens so far; each process then cuts its own into
  micro-batches. Every process computes the whole division, so nothing is exchanged for it.
* A training that draws random numbers for each micro-batch has the micro-batches of one process, which are dealt instead.
* Every process has the same number of passes, since weights that lie in parts are collected within each pass (FSDP). What a process
  lacks are `idle` passes over the shortest row of the batch, which count nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from w2s_cli.store.ranks import ALONE, Ranks
from w2s_cli.training.exchange import agree, joined

T = TypeVar("T")
Cut = Callable[[Sequence[int], int], list[list[int]]]  # rows, tokens → micro-batches


@dataclass(frozen=True)
class Whole:
    """An effective batch, of which this process has some micro-batches."""

    order: list[int]  # its rows, in the order of the processes and their micro-batches
    start: int = 0  # the place of this process's first row in that order
    real: int | None = None  # the first micro-batches count, the others are idle; None: all count
    ranks: Ranks = ALONE

    @property
    def shared(self) -> bool:
        """Whether other processes have a part of it."""
        return self.ranks.count > 1

    def gathered(self, values: list[Tensor]) -> Tensor:
        """`values`, [rows of the micro-batch, …] of each micro-batch of this process, as [all rows, …] in the order of `order`.

        Raises:
            Elsewhere: another process has no memory for its part.
        """
        own = torch.cat(values)
        if not self.shared:
            return own
        agree(self.ranks)
        own = torch.cat([own[:0], *values[: self.real]])
        return joined(self.ranks, own, self.start, len(self.order))

    def own(self, values: Tensor, pieces: list[list[int]]) -> list[Tensor]:
        """Of `values` [all rows, …], in the order of `order`, those of each micro-batch of this process; zeros of an idle one."""
        real = pieces[: self.real]
        end = self.start + sum(map(len, real))
        parts = list(torch.split(values[self.start : end], [len(piece) for piece in real]))
        idle = pieces[len(real) :]
        return [*parts, *(values.new_zeros((len(piece), *values.shape[1:])) for piece in idle)]


def whole_of(pieces: list[list[int]]) -> Whole:
    """The effective batch of one process."""
    return Whole([row for piece in pieces for row in piece])


class Division(NamedTuple):
    """The micro-batches of this process, and the whole batch."""

    pieces: list[list[int]]
    whole: Whole


def divided(
    rows: Sequence[int], tokens: int, lengths: np.ndarray, cut: Cut, ranks: Ranks, *, by_pieces: bool = False
) -> Division:
    """The part of this process of an effective batch.

    Args:
        tokens: of a micro-batch, at most.
        lengths: [all rows] in tokens.
        by_pieces: the micro-batches of one process are dealt, not the rows.
    """
    if ranks.count == 1:
        pieces = cut(rows, tokens)
        return Division(pieces, whole_of(pieces))
    if by_pieces:
        parts = deal(cut(rows, tokens), lambda piece: int(lengths[piece].sum()), ranks.count)
    else:
        parts = [cut(some, tokens) for some in deal(rows, lambda row: int(lengths[row]), ranks.count)]
    own = parts[ranks.rank]
    idle = [min(rows, key=lambda row: (int(lengths[row]), row))]
    orders = [[row for piece in part for row in piece] for part in parts]
    whole = Whole([row for order in orders for row in order], sum(map(len, orders[: ranks.rank])), len(own), ranks)
    return Division([*own, *[idle] * (max(map(len, parts)) - len(own))], whole)


def deal(items: Sequence[T], size: Callable[[T], int], count: int) -> list[list[T]]:
    """`items` in `count` lists of about the same size, the larger items first."""
    parts: list[list[T]] = [[] for _ in range(count)]
    sizes = [0] * count
    for item in sorted(items, key=lambda item: -size(item)):
        least = sizes.index(min(sizes))
        parts[least].append(item)
        sizes[least] += size(item)
    return parts


def span(start: int, end: int, sizes: np.ndarray, ranks: Ranks) -> tuple[int, int]:
    """The adjacent rows of this process among start … end−1, with about its share of their `sizes` [all rows]."""
    sums = np.cumsum(sizes[start:end])
    cuts = [
        0,
        *(int(np.searchsorted(sums, sums[-1] * rank / ranks.count)) for rank in range(1, ranks.count)),
        end - start,
    ]
    return start + cuts[ranks.rank], start + cuts[ranks.rank + 1]
