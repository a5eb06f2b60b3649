"""Keys and values of a batch that is being written: rooms of a fixed size, so that a step copies one token and not the whole past.

* transformers' own cache makes a new, longer tensor at every step. Here each layer has its room for the whole text from the beginning; a
  step writes into it, and attention reads the filled part.
* Rows that are done leave the batch: the last rows take their places, so that only these are copied.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class Room(DynamicLayer):
    """One layer's keys and values, [rows, heads, size, dim] each, of which the first `length` positions are filled."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.length = size, 0
        self.all_keys: Tensor
        self.all_values: Tensor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the room when the first keys tell its shape and type."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.all_keys = _room(key_states, self.size)
        self.all_values = _room(value_states, self.size)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Write the next positions; returns the filled part."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.all_keys[:, :, self.length : end] = key_states
        self.all_values[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = self.all_keys[:, :, :end], self.all_values[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Filled positions."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys that `query_length` further tokens see, and their first place."""
        return self.length + query_length, 0

    def taken(self, rows: Tensor, size: int) -> "Room":
        """A room of `size` positions with the rows at the indices `rows`, which may repeat."""
        other = Room(size)
        other.dtype, other.device, other.is_initialized, other.length = self.dtype, self.device, True, self.length
        other.all_keys, other.all_values = (
            _room(self.all_keys, size, len(rows)),
            _room(self.all_values, size, len(rows)),
        )
        filled = slice(0, self.length)
        other.all_keys[:, :, filled] = self.all_keys[:, :, filled].index_select(0, rows)
        other.all_values[:, :, filled] = self.all_values[:, :, filled].index_select(0, rows)
        return other

    def keep(self, order: Tensor, moved: Tensor) -> None:
        """Go on with the rows at the indices `order` alone; `moved` has the places in `order` of rows that stood elsewhere."""
        for states in (self.all_keys, self.all_values):
            states[moved, :, : self.length] = states[order[moved], :, : self.length]
        self.all_keys, self.all_values = self.all_keys[: len(order)], self.all_values[: len(order)]


def new_cache(layers: int, size: int) -> Cache:
    """An empty cache with room for `size` positions in each layer."""
    return Cache(layers=[Room(size) for _ in range(layers)])


def taken(cache: Cache, rows: Tensor, size: int) -> Cache:
    """A cache of `size` positions with the rows at the indices `rows`, which may repeat."""
    return Cache(layers=[layer.taken(rows, size) for layer in cache.layers])


def staying_first(staying: Sequence[int]) -> list[int]:
    """The rows `staying` (ascending), in an order that leaves as many as can be in their places."""
    count = len(staying)
    movers = iter([row for row in staying if row >= count])
    known = set(staying)
    return [row if row in known else next(movers) for row in range(count)]


def keep(cache: Cache, order: Tensor) -> None:
    """Go on with the rows at the indices `order`, from `staying_first`."""
    moved = (order != torch.arange(len(order), device=order.device)).nonzero().squeeze(1)
    for layer in cache.layers:
        layer.keep(order, moved)


def _room(states: Tensor, size: int, rows: int | None = None) -> Tensor:
    count, heads, _, dim = states.shape
    return states.new_empty(count if rows is None else rows, heads, size, dim)
