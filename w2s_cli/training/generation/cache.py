"""Keys and values of a batch that is being written: rooms that grow by many positions at once, so that a step copies one token.

* transformers' own cache makes a new, longer tensor at every step. Here each layer has room for GROWTH further tokens; a step writes into
  it.
* Attention reads the whole room, whose unwritten positions are zero and hidden by the mask: a filled part of it would not be one piece of
  memory, and matmul copies such a tensor first (264 rows of 100 tokens on an EPYC core: 6 ms a layer instead of 1.5).
* Rows that are done leave the batch: the last rows take their places, so that only these are copied.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

GROWTH = 32  # positions


class Room(DynamicLayer):
    """One layer's keys and values, [rows, heads, room, dim] each, of which the first `length` positions are written."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.keys: Tensor
        self.values: Tensor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Learn shape and type from the first keys."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def room_for(self, tokens: int) -> int:
        """Positions after `tokens` more: those of prompts exactly, and GROWTH at once where texts are written token by token."""
        end = self.length + tokens
        room = self.keys.shape[-2] if self.is_initialized else 0
        return room if end <= room else end if tokens > 1 else end - 1 + GROWTH

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """Write the next positions; returns the whole room."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        room, end = self.room_for(key_states.shape[-2]), self.length + key_states.shape[-2]
        if room > self.keys.shape[-2]:
            self.keys, self.values = (_grown([(states, self.length)], 0, room) for states in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Written positions."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys that `query_length` further tokens see, and their first place."""
        return self.room_for(query_length), 0

    def taken(self, rows: Tensor) -> "Room":
        """A room with the rows at the indices `rows`, which may repeat."""
        return self.with_states(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def with_states(self, keys: Tensor, values: Tensor) -> "Room":
        """A room with as many written positions, and these keys and values."""
        other = Room()
        other.lazy_initialization(keys, values)
        other.keys, other.values, other.length = keys, values, self.length
        return other

    def keep(self, order: Tensor, moved: Tensor) -> None:
        """Go on with the rows at the indices `order` alone; `moved` has the places in `order` of rows that stood elsewhere."""
        for states in (self.keys, self.values):
            states[moved, :, : self.length] = states[order[moved], :, : self.length]
        self.keys, self.values = self.keys[: len(order)], self.values[: len(order)]


def new_cache(layers: int) -> Cache:
    """An empty cache."""
    return Cache(layers=[Room() for _ in range(layers)])


def room_for(cache: Cache, tokens: int) -> int:
    """Positions that attention reads when `tokens` more are written."""
    first: Any = cache.layers[0]
    room: int = first.room_for(tokens)
    return room


def taken(cache: Cache, rows: Tensor) -> Cache:
    """A cache with the rows at the indices `rows`, which may repeat."""
    return Cache(layers=[layer.taken(rows) for layer in cache.layers])


def joined(caches: list[Cache], shared: int) -> Cache:
    """The rows of several caches as one, with room for more; the layers leave the caches one by one.

    The first `shared` positions, which all rows have, stay the first; the further positions of each cache stand before the same end.
    """
    if len(caches) == 1:
        return caches[0]
    layers: list[Room] = []
    for parts in zip(*(cache.layers for cache in caches), strict=True):
        longest = max(parts, key=lambda part: part.length)
        keys, values = (
            _grown([(getattr(part, name), part.length) for part in parts], shared, longest.length + GROWTH)
            for name in ("keys", "values")
        )
        layers.append(longest.with_states(keys, values))
        for part in parts:
            del part.keys, part.values
    return Cache(layers=layers)


def staying_first(staying: Sequence[int]) -> list[int]:
    """The rows `staying` (ascending), in an order that leaves as many as can be in their places."""
    count = len(staying)
    movers = iter([row for row in staying if row >= count])
    places = set(staying)
    return [row if row in places else next(movers) for row in range(count)]


def keep(cache: Cache, order: Tensor) -> None:
    """Go on with the rows at the indices `order`, from `staying_first`."""
    moved = (order != torch.arange(len(order), device=order.device)).nonzero().squeeze(1)
    for layer in cache.layers:
        layer.keep(order, moved)


def _grown(parts: Sequence[tuple[Tensor, int]], shared: int, room: int) -> Tensor:
    """[rows of all parts, heads, room, dim] from parts of keys or values with their numbers of written positions.

    Each row has its first `shared` positions first, and its others before the end of the longest part's; zeros elsewhere.
    """
    first = parts[0][0]
    end = max(written for _, written in parts)
    grown = first.new_empty(sum(len(states) for states, _ in parts), first.shape[1], room, first.shape[3])
    grown[:, :, end:] = 0
    for rows, (states, written) in zip(torch.split(grown, [len(states) for states, _ in parts]), parts, strict=True):
        start = end - (written - shared)
        rows[:, :, :shared] = states[:, :, :shared]
        rows[:, :, shared:start] = 0
        rows[:, :, start:end] = states[:, :, shared:written]
    return grown
