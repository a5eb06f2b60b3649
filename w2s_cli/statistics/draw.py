"""Random draws by hash: a draw depends on its purpose and its row, never on its time.

A running random generator would give a row another label if earlier rows change, or if two workers share the work. Here a draw
is a function of names (data set, purpose, seed, row id), so that order, workers and other rows cannot change it.
"""

import hashlib
import json
from collections.abc import Callable


def uniform(*names: str | int) -> float:
    """A number in [0, 1) with 53 random bits: sha256 of the JSON list of `names`."""
    return _unit(hashlib.sha256(_json(names)).digest())


def drawer(*names: str | int) -> Callable[[str], float]:
    """last → uniform(*names, last), for millions of rows: all names but the last are hashed once."""
    start = hashlib.sha256(_json(names)[:-1])

    def draw(last: str) -> float:
        hashed = start.copy()
        hashed.update(f",{json.dumps(last)}]".encode("ascii"))
        return _unit(hashed.digest())

    return draw


def fingerprint(*values: object) -> str:
    """16 hex digits from a hash of `values`; equal values have equal digits."""
    return hashlib.sha256(_json(values)).hexdigest()[:16]


def _unit(digest: bytes) -> float:
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def _json(values: tuple[object, ...]) -> bytes:
    # ASCII escapes, so that a text with a lone surrogate can be hashed
    return json.dumps(values, separators=(",", ":"), default=str).encode("ascii")
