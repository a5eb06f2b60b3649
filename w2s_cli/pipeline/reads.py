"""A configuration that records the fields read from it, so that a word of the command line without any effect is refused.

* `config["train"]["lora"]["rank"]` records "train.lora.rank". A list is one field, and so are the `args` of a rule.
* A method's YAML has copies of groups (`loss: "${loss}"`). `traced` gives a copy the name of its group.
* `plain` has the same values without a record: for checks, and for decisions that may not need the field.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import read_text

# Fields of commands, and information for people: no stage has to read them.
OF_COMMANDS = (
    "method",
    "outputs",
    "tracker",
    "keep_weights",
    "remotes",
    "pairs",
    "most_jobs",
    "seed",
    "seeds",
    "search",
    "debug",
)
OF_PEOPLE = ("data.expected", "data.warning", "data.source", "data.licence", "data.name", "data.models", "method.name")
OF_MODELS = ("name", "parameters", "active_parameters", "lr_source")
NAMED = 4  # methods that a message names


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
    words: Sequence[str],
    paths: Collection[str],
    methods: Sequence[str],
    folders: Sequence[Path],
    needs: Callable[[str], str | None],
    advice: Callable[[str, Callable[[str], bool]], str],
) -> None:
    """Refuse (UserError) a word of the command line whose group or field no stage read.

    Args:
        words: overrides of all jobs, GROUP=NAME or FIELD=VALUE.
        paths: the fields that the stages of all jobs read.
        methods: names of the planned methods.
        folders: folders of the methods' YAML files, for the advice.
        needs: field → the word without which it has no effect, or None.
        advice: (word, whether a field is read) → why it has no effect, or "" (config.advice).
    """
    for word in words:
        field = word.lstrip("+~").partition("=")[0]
        field = field.partition("@")[2] or field
        if "=" not in word or field.startswith("hydra") or _is_read(field, paths):
            continue
        if why := advice(word, lambda name: _is_read(name, paths)):
            raise UserError(f"{word} has no effect {why}")
        uses = [] if _is_read(field.partition(".")[0], paths) else _methods_with(field.partition(".")[0], folders)
        if set(uses) & set(methods):  # the method has a use for it, and another word took the stage away
            others = [choice for choice in words if choice != word and _chooses(choice, folders)]
            raise UserError(f"{word} has no effect beside {' '.join(others)}: no stage of this run reads it.")
        raise UserError(f"{word} has no effect with method={', '.join(methods)}: {_reason(needs(field), uses)}")


def _chooses(word: str, folders: Sequence[Path]) -> bool:
    """Whether a word chooses one of a group's YAML files."""
    return any((folder / word.partition("=")[0]).is_dir() for folder in folders)


def _is_read(field: str, paths: Collection[str]) -> bool:
    group, _, name = field.partition(".")
    if group in OF_COMMANDS or field.startswith(OF_PEOPLE) or (group in ("weak", "strong") and name in OF_MODELS):
        return True
    return any(path == field or path.startswith(f"{field}.") or field.startswith(f"{path}.") for path in paths)


def _reason(needed: str | None, uses: Sequence[str]) -> str:
    if needed:
        return f"use it with {needed}."
    if uses:
        more = ", …" if len(uses) > NAMED else ""
        return f"use it with method={' or method='.join(uses[:NAMED])}{more}."
    return "no stage reads it. w2s plan shows the settings of each stage."


def _methods_with(group: str, folders: Sequence[Path]) -> list[str]:
    """Names of the methods whose YAML, or whose base's, reads a group."""
    name = re.escape(group)
    reads = re.compile(rf"\$\{{{name}\}}|foreach: {name}\b|kind: {name}\b|role: {name}\b")
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("method/*.yaml"))}
    texts = {method: read_text(path) for method, path in files.items()}
    written = {method: re.search(r"^base: (\w+)", text, re.MULTILINE) for method, text in texts.items()}
    bases = {method: base[1] for method, base in written.items() if base}

    def has(method: str | None) -> bool:
        return method in texts and (bool(reads.search(texts[method])) or has(bases.get(method)))

    return [method for method in texts if has(method)]
