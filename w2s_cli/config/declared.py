"""The declared fields of the schema by their dotted names: for messages, for words of the command line, and for completion."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin

from w2s_cli.config.notes import AnyName, With
from w2s_cli.config.schema import Config

Note = TypeVar("Note")


def inner_class(kind: Any) -> Any:
    """The dataclass of a field's type: `PretrainConfig` of `PretrainConfig | None`; any other type unchanged."""
    members = (kind,) if get_origin(kind) is dict else (kind, *get_args(kind))
    return next((member for member in members if isinstance(member, type) and is_dataclass(member)), kind)


def is_named_by_user(name: str) -> bool:
    """Whether a dotted name is a field whose names the user chooses, or lies in one: launcher.resources.student.processes."""
    return any(name == field or name.startswith(f"{field}.") for field in _named_by_user())


def _named_by_user(cls: Any = Config, prefix: str = "") -> Iterator[str]:
    """The fields that are dictionaries of groups, or have any names: launcher.resources, launcher.additional_parameters."""
    for field in fields(cls):
        inner = inner_class(field.type)
        parts = get_args(field.type)  # of a dictionary, or a type with its notes
        groups = get_origin(field.type) is dict and any(map(is_dataclass, parts))
        if groups or AnyName() in parts:
            yield f"{prefix}{field.name}"
        elif is_dataclass(inner):
            yield from _named_by_user(inner, f"{prefix}{field.name}.")


def class_of(name: str) -> Any:
    """The dataclass of the fields under a dotted name: `TrainConfig` of "train"; None if the name has no declared fields."""
    cls: Any = Config
    for part in name.split("."):
        kinds = {field.name: field.type for field in fields(cls)} if is_dataclass(cls) else {}
        cls = inner_class(kinds.get(part))
    return cls if is_dataclass(cls) else None


def needs(name: str) -> str | None:
    """The word without which a field has no effect, by the note on it or on its group: "train=lora" of "train.lora.rank"."""
    note, above = note_on(name, With), name.rpartition(".")[0]
    return note.word if note else needs(above) if above else None


def note_on(name: str, of: type[Note]) -> Note | None:
    """The note of a class on a declared field; None without one."""
    above, _, last = name.rpartition(".")
    cls = class_of(above) if above else Config
    kind = next((one.type for one in fields(cls) if one.name == last), None) if cls else None
    return next((note for note in get_args(kind) if isinstance(note, of)), None)


def declared_fields(cls: Any = Config, prefix: str = "") -> Iterator[str]:
    """The dotted names of all fields, groups included."""
    for field in fields(cls):
        yield prefix + field.name
        inner = inner_class(field.type)
        if is_dataclass(inner):
            yield from declared_fields(inner, f"{prefix}{field.name}.")


def fields_named(name: str) -> list[str]:
    """The declared fields inside of groups with this last name, also spelt out or without underscores: "device" → launcher.device."""
    bare, initials = name.replace("_", "").lower(), "".join(part[:1] for part in name.split("_"))
    inside = [(field, field.rpartition(".")[2]) for field in declared_fields() if "." in field]
    exact = [field for field, last in inside if last.replace("_", "") == bare]
    return exact or [field for field, last in inside if last == initials != name]
