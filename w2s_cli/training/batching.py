"""Which rows make an update, and in which pieces they go through the model.

* The order of updates is a pure function of (seed, epoch), reshuffled each epoch: a position is one integer.
* An effective batch (in rows or in tokens, as the config says) is cut into micro-batches by a budget of padded tokens.
  They are an execution detail: sorted by length, so little is padded, and small enough for the memory.
* Padding is on the right and a mask says where it is; nothing is ever derived from a token's id.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from w2s_cli.errors import UserError

SMALL = 512  # padded tokens; a piece below this is not worth splitting, its fixed cost outweighs the padding


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


def micro_batches(rows: Sequence[int], lengths: np.ndarray, micro_tokens: int) -> list[list[int]]:
    """Cut `rows` into pieces of at most `micro_tokens` padded tokens, longest rows first.

    A row that is longer than the budget makes a piece of its own. A piece also ends where going on would pad
    a row by more than a quarter, unless the piece is still `SMALL`.
    """
    pieces: list[list[int]] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        length = int(lengths[row])
        full = not pieces or (len(pieces[-1]) + 1) * longest > micro_tokens
        if full or (length * 5 < longest * 4 and len(pieces[-1]) * longest >= SMALL):
            pieces.append([])
            longest = max(1, length)
        pieces[-1].append(row)
    return pieces


def pad(sequences: Sequence[Sequence[int] | np.ndarray], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [rows, longest] padded on the right, and their mask [rows, longest] (1 = real token), on `device`."""
    longest = max(len(sequence) for sequence in sequences)
    ids = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
