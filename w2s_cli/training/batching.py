"""Effective batches (the rows of an update) and micro-batches (the rows of one forward pass).

* The order of rows is a pure function of (seed, epoch), so a position in the training is one integer.
* The config gives the size of an effective batch, in rows or in tokens. A budget of tokens cuts it into micro-batches. These are an
  execution detail: small enough for the memory, and sorted by length, so that padding is small. Packed rows have no padding.
* Padding is on the right. A mask marks it; a token's id is never used to find it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """How rows lie in a micro-batch."""

    packed: bool = False  # rows end to end, without padding; else side by side, padded to the longest
    waste: int = 56  # most padding tokens in a micro-batch: their cost equals its fixed cost
    most: int | None = None  # most tokens in a micro-batch, whatever the budget
    unit: int = 1  # packed rows and `spare` tokens after them are filled up to a multiple of it
    spare: int = 0
    last: int = 1  # packed rows: the last layer's queries, one a row, are filled up to a multiple of it
    alone: bool = False  # each row goes through the model by itself

    def room(self, lengths: np.ndarray) -> int:
        """Tokens of a micro-batch with rows of these lengths, padding included."""
        if self.packed:
            return -(-(int(lengths.sum()) + self.spare) // self.unit) * self.unit
        return int(lengths.max()) * len(lengths)

    def passes(self, rows: Sequence[T]) -> list[Sequence[T]]:
        """The rows of a micro-batch as they go through the model: together, or each by itself."""
        return [[row] for row in rows] if self.alone else [rows]


PADDED = Layout()
LAUNCHED = Layout(
    waste=1024
)  # on a GPU: each micro-batch, small or large, costs the launch of its kernels (reasoned, not measured)
ALONE = Layout(packed=True, alone=True)  # one row has no padding


def epoch_order(rows: int, seed: int, epoch: int) -> list[int]:
    """A permutation of `rows` row numbers that depends on (seed, epoch) only."""
    digest = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randperm(rows, generator=generator).tolist()  # type: ignore[no-any-return]


def batches_of_rows(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Effective batches of `batch_size` rows; the last of an epoch may be smaller."""
    return [list(order[at : at + batch_size]) for at in range(0, len(order), batch_size)]


def batches_of_tokens(order: Sequence[int], lengths: np.ndarray, batch_tokens: int) -> list[list[int]]:
    """Effective batches of about `batch_tokens` real tokens; their number is the same in every epoch.

    Raises:
        UserError: a batch would be smaller than the longest row.
    """
    ends = np.cumsum(lengths[np.asarray(order)])
    count = max(1, round(int(ends[-1]) / batch_tokens))
    if int(lengths.max()) > ends[-1] / count:
        raise UserError(
            f"batch_tokens={batch_tokens} is less than the longest row ({int(lengths.max())} tokens): raise it"
        )
    cuts = np.searchsorted(ends, np.arange(1, count) * (ends[-1] / count))
    return [piece.tolist() for piece in np.split(np.asarray(order), cuts)]


def micro_batches(
    rows: Sequence[int], lengths: np.ndarray, micro_tokens: int, layout: Layout = PADDED
) -> list[list[int]]:
    """Cut `rows` into micro-batches of at most `micro_tokens` tokens, padding included, longest rows first.

    A row above the budget is a micro-batch by itself. A padded micro-batch also ends where one more row would exceed the padding that
    the layout allows.
    """
    budget = micro_tokens if layout.most is None else min(micro_tokens, layout.most)
    pieces: list[list[int]] = []
    longest = real = 0  # tokens of the last micro-batch: of its longest row, of all its rows
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        length = int(lengths[row])
        taken = real + length if layout.packed else (len(pieces[-1]) + 1) * longest if pieces else 0
        if not pieces or taken > budget or (not layout.packed and taken - real - length > layout.waste):
            pieces.append([])
            longest, real = length, 0
        pieces[-1].append(row)
        real += length
    return pieces


def pad(sequences: Sequence[Sequence[int] | np.ndarray], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids [rows, longest] padded on the right, and their mask [rows, longest] (1 = real token), on the CPU."""
    longest = max(len(sequence) for sequence in sequences)
    ids = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def spread(lengths: Sequence[int]) -> list[int]:
    """Up to four rows, from the shortest to the longest, by the lengths of all rows."""
    ordered = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return [ordered[round(at)] for at in np.linspace(0, len(ordered) - 1, min(4, len(ordered)))]
