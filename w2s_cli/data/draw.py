"""Chance that depends on what is drawn for, never on when: every draw is a hash.

A running random generator gives a row another label when rows before it change, or when two workers share the work. Here a
draw is a function of the names it is made for (data set, purpose, seed, row id), so that order, workers and other rows
cannot change it.
"""

import hashlib
import json


def uniform(*names: str | int) -> float:
    """A number in [0, 1) with 53 random bits: sha256 of the JSON list of `names`."""
    return (int.from_bytes(_sha256(names).digest()[:8], "big") >> 11) / 2**53


def fingerprint(*values: object) -> str:
    """16 hex digits that stand for `values`; equal values, equal digits."""
    return _sha256(values).hexdigest()[:16]


def _sha256(values: tuple[object, ...]) -> "hashlib._Hash":
    # ASCII escapes: also a text with a lone surrogate can be hashed
    return hashlib.sha256(json.dumps(values, separators=(",", ":"), default=str).encode("ascii"))
