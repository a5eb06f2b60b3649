"""Order, effective batches and micro-batches."""

import numpy as np
import pytest
import torch

from w2s_cli.errors import UserError
from w2s_cli.training.batching import batches_of_rows, batches_of_tokens, epoch_order, micro_batches, pad


def test_order_is_a_function_of_seed_and_epoch_only() -> None:
    first = epoch_order(100, 3, 1)
    torch.manual_seed(12)
    assert epoch_order(100, 3, 1) == first
    assert sorted(first) == list(range(100))
    assert len({tuple(epoch_order(100, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_order_never_changes_between_versions() -> None:
    assert epoch_order(8, 0, 0) == [5, 0, 3, 7, 6, 2, 1, 4]


def test_the_last_batch_may_be_smaller() -> None:
    assert [len(batch) for batch in batches_of_rows(range(70), 32)] == [32, 32, 6]


@pytest.mark.parametrize("micro_tokens", [1, 100, 1000, 100_000])
def test_micro_batches_hold_every_row_once_within_the_budget(micro_tokens: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 300)
    rows = epoch_order(300, 0, 0)[:64]
    pieces = micro_batches(rows, lengths, micro_tokens)
    assert sorted(row for piece in pieces for row in piece) == sorted(rows)
    for piece in pieces:
        assert len(piece) == 1 or len(piece) * max(lengths[piece]) <= micro_tokens


def test_micro_batches_do_not_depend_on_the_order_of_rows() -> None:
    lengths = np.random.default_rng(0).integers(1, 20, 300)
    assert micro_batches(list(range(300)), lengths, 500) == micro_batches(list(range(299, -1, -1)), lengths, 500)


def test_little_is_padded() -> None:
    lengths = np.random.default_rng(0).integers(8, 512, 256)
    pieces = micro_batches(range(256), lengths, 8192)
    padded = sum(len(piece) * lengths[piece].max() for piece in pieces)
    assert padded / lengths.sum() < 1.15


def test_padding_is_on_the_right_and_the_mask_says_where() -> None:
    ids, mask = pad([[5, 0, 0], [7]], 9)
    assert ids.tolist() == [[5, 0, 0], [7, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_token_batch_smaller_than_a_row_is_refused() -> None:
    with pytest.raises(UserError, match="batch_tokens=10"):
        batches_of_tokens([0, 1], np.array([30, 5]), 10)
