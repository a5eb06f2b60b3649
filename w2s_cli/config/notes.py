"""Notes on the fields of the schema, as annotations: what a field needs, and how it is written on the command line.

A note changes no check of a value (`w2s_cli.values`); the reading of words, messages and completion ask for it (`declared.note_on`).
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class With:
    """A note on a field: it has an effect only together with a word such as `train=lora`."""

    word: str


@dataclass(frozen=True)
class Unless:
    """A note on a field: a word such as `grader=NAME` takes its place."""

    word: str  # the field or group of the word


@dataclass(frozen=True)
class AnyName:
    """A note on a dictionary: its names are the user's, and another program checks them."""


@dataclass(frozen=True)
class Verbatim:
    """A note on a text: all that stands behind its "=" is the text, so a line of the shell needs no quotes of Hydra's grammar."""


@dataclass(frozen=True)
class Renamed:
    """A note on a field: its earlier name, for the message to who still writes it."""

    before: str


def now_called(cls: Any, name: str) -> str | None:
    """The field of a dataclass that was called `name` before; None if none was."""
    notes = {field.name: getattr(field.type, "__metadata__", ()) for field in fields(cls)}
    return next((field for field, own in notes.items() if Renamed(name) in own), None)
