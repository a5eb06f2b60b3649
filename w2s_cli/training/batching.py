"""Which rows make an update, and in which pieces they go through the model.

* The order of updates is a pure function of (seed, epoch), reshuffled each epoch: a position is one integer.
* An effective batch (in rows or in tokens, as the config says) is cut into micro-batches by a budget of tokens. They are an
  execution detail: small enough for the memory, and sorted by length, so little is padded, or nothing where rows are packed.
* Padding is on the right and a mask says where it is; nothing is ever derived from a token's id.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError


@dataclass(frozen=True)
class Layout:
    """How rows lie in a micro-batch."""

    packed: bool = False  # end to end; else side by side, padded to the longest
    waste: int = 56  # padding tokens that a micro-batch may have: what its fixed cost is worth
    most: int | None = None  # tokens that a micro-batch has at most, whatever its budget
    unit: int = 1  # packed rows, with `spare` tokens after them, are filled up to a multiple of this
    spare: int = 0

    def room(self, lengths: np.ndarray) -> int:
        """Tokens that rows of these lengths take together."""
        if self.packed:
            return -(-(int(lengths.sum()) + self.spare) // self.unit) * self.unit
        return int(lengths.max()) * len(lengths)


PADDED = Layout()
LAUNCHED = Layout(
    waste=1024
)  # on a GPU: a micro-batch costs the launch of its kernels, small or large (reasoned, not measured)


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
    """Cut `rows` into pieces of at most `micro_tokens` tokens, padding included, longest rows first.

    A row that is longer than the budget makes a piece of its own. A padded piece also ends where going on would waste more than the
    layout allows.
    """
    budget = micro_tokens if layout.most is None else min(micro_tokens, layout.most)
    pieces: list[list[int]] = []
    longest = real = 0  # of the last piece
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


def gather(
    forward: Callable[[list[int]], Tensor], lengths: np.ndarray, budget: int, layout: Layout = PADDED
) -> np.ndarray:
    """`forward(rows)`, [rows, …], for all rows in their order, in length-sorted batches of at most `budget` tokens."""
    found: np.ndarray | None = None
    for piece in micro_batches(range(len(lengths)), lengths, budget, layout):
        part = forward(piece).float().cpu().numpy()
        if found is None:
            found = np.empty((len(lengths), *part.shape[1:]), dtype=np.float32)
        found[piece] = part
    assert found is not None
    return found
