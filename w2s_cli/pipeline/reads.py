"""A configuration that records the fields read from it, so that a word of the command line without any effect is refused.

* `config["train"]["lora_r"]` records "train.lora_r". A list is one field, and so are the `args` of a rule.
* A method's YAML has copies of groups (`loss: "${loss}"`). `traced` gives a copy the name of its group.
* `plain` has the same values without a record: for checks, and for decisions that may not need the field.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError

# Fields of commands, and information for people: no stage has to read them.
OF_COMMANDS = ("method", "outputs", "launcher", "keep_weights", "pairs", "seed", "seeds", "debug", "hydra")
OF_PEOPLE = ("data.expected", "data.warning", "data.source", "data.licence", "data.name", "method.name")
OF_MODELS = ("name", "parameters", "lr_source")


class Recorded(Mapping[str, Any]):
    """A nested configuration; `paths` collects the dotted names of all fields read."""

    def __init__(self, plain: Mapping[str, Any], paths: set[str] | None = None, names: Sequence[str] = ("",)) -> None:
        self.plain = plain
        self.paths: set[str] = set() if paths is None else paths
        self.names = names  # of this group, each with a dot at its end; several if groups have equal values

    def __getitem__(self, name: str) -> Any:
        value = self.plain[name]
        paths = [f"{group}{name}" for group in self.names]
        if isinstance(value, Mapping) and name != "args":
            return Recorded(value, self.paths, [f"{path}." for path in paths])
        self.paths.update(paths)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)

    def __eq__(self, other: object) -> bool:
        return self.plain == (other.plain if isinstance(other, Recorded) else other)

    __hash__ = None  # type: ignore[assignment] # equal by value, as a dict is

    def over(self, own: Mapping[str, Any]) -> "Layers":
        """The fields of `own` over those of this group; a field of this group is recorded only if `own` lacks it."""
        return Layers(own, self)


class Layers(Mapping[str, Any]):
    """Two groups; a field of `top` replaces the same field of `bottom`."""

    def __init__(self, top: Mapping[str, Any], bottom: Mapping[str, Any]) -> None:
        self.top, self.bottom = top, bottom

    def __getitem__(self, name: str) -> Any:
        return self.top[name] if name in self.top else self.bottom[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self.bottom), **dict.fromkeys(self.top)})

    def __len__(self) -> int:
        return len(list(iter(self)))


def plain(value: Any) -> Any:
    """A configuration's value as plain dictionaries; all its fields are recorded."""
    return {name: plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def traced(value: Any, config: Recorded) -> Any:
    """A value of a method's YAML; a copy of a group gets the group's name."""
    if not isinstance(value, Mapping):
        return value
    names = [f"{name}." for name, group in config.plain.items() if isinstance(group, Mapping) and group == value]
    return Recorded(value, config.paths, names) if names else value


def refuse_unread(
    words: Sequence[str], paths: Collection[str], methods: Sequence[str], folders: Sequence[Path]
) -> None:
    """Refuse (UserError) a word of the command line whose group or field no stage read.

    Args:
        words: overrides of the command line, GROUP=NAME or FIELD=VALUE.
        paths: the fields that the stages of all jobs read.
        methods: names of the planned methods.
        folders: folders of the methods' YAML files, for the advice.
    """
    for word in words:
        field = word.lstrip("+~").partition("=")[0]
        field = field.partition("@")[2] or field
        if "=" not in word or _is_read(field, paths):
            continue
        unread = not _is_read(field.partition(".")[0], paths)
        raise UserError(f"{word} has no effect with method={', '.join(methods)}: {_reason(field, folders, unread)}")


def _is_read(field: str, paths: Collection[str]) -> bool:
    group, _, name = field.partition(".")
    if group in OF_COMMANDS or field.startswith(OF_PEOPLE) or (group in ("weak", "strong") and name in OF_MODELS):
        return True
    return any(path == field or path.startswith(f"{field}.") or field.startswith(f"{path}.") for path in paths)


def _reason(field: str, folders: Sequence[Path], unread: bool) -> str:
    """The end of the message: the methods that use the group if it is unread, else that no stage reads the field."""
    group = re.escape(field.partition(".")[0])
    uses = re.compile(rf"\$\{{{group}\}}|foreach: {group}\b|kind: {group}\b|role: {group}\b")
    files = [path for folder in folders for path in sorted(folder.glob("method/*.yaml"))]
    methods = [path.stem for path in files if uses.search(path.read_text(encoding="utf-8"))]
    if unread and methods:
        return f"use it with {' or '.join(f'method={method}' for method in methods)}."
    return "no stage reads it. w2s plan shows the settings of each stage."
