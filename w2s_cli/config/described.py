"""Every field of the configuration with its type, range, default and meaning: for `--help`, `w2s config`, completion and docs/fields.md.

* Nothing is listed here. Types and defaults are those of the dataclasses in `schema.py` and `trainings.py`; the meaning of a field is
  the comment behind it or above it there.
* The comments are read from the source, so an import of this file costs no more than the schema's own.
"""

import inspect
import io
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

from w2s_cli.config.declared import inner_class, needs
from w2s_cli.config.schema import Config
from w2s_cli.values import MISSING, shown, words


class Described(NamedTuple):
    """One field."""

    name: str  # dotted
    kind: Any
    default: Any  # MISSING: required
    meaning: str

    @property
    def allowed(self) -> str:
        """The type and the range in words."""
        return words(self.kind)

    @property
    def written(self) -> str:
        """The default as on the command line."""
        return "required" if self.default == MISSING else literal(self.default)


def described(cls: Any = Config, prefix: str = "", *, meanings: bool = True) -> Iterator[Described]:
    """All fields that have a value, with dotted names; a group is not one of them. Meanings take most of the time."""
    meanings_of = comments(cls) if meanings else {}
    for field in fields(cls):
        inner = inner_class(field.type)
        name = f"{prefix}{field.name}"
        if is_dataclass(inner):
            yield from described(inner, f"{name}.", meanings=meanings)
        else:
            needed = needs(name) if prefix and meanings else None
            meaning = meanings_of.get(field.name, "")
            with_word = f"with {needed}" if needed else ""
            yield Described(name, field.type, _default(field), "; ".join(filter(None, [meaning, with_word])))


def groups() -> dict[Any, list[str]]:
    """Class → the top-level names of the groups of its fields, in order: ModelConfig → weak, strong."""
    names: dict[Any, list[str]] = {}
    for field in fields(Config):
        inner = inner_class(field.type)
        if is_dataclass(inner):
            names.setdefault(inner, []).append(field.name)
    return names


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is NO_DEFAULT else field.default_factory()


@cache
def comments(cls: Any) -> dict[str, str]:
    """Field → its comment: behind it on its line, else in the lines above it. A base class has the comments of its fields."""
    texts: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if is_dataclass(each):
            texts.update(_comments_of(each))
    return texts


def _comments_of(cls: Any) -> dict[str, str]:
    behind: dict[int, str] = {}
    alone: dict[int, str] = {}
    source = inspect.getsource(cls)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ").strip()
            (alone if token.line.strip().startswith("#") else behind)[token.start[0]] = text
    texts = {}
    for number, line in enumerate(source.splitlines(), start=1):
        name, sign, _ = line.strip().partition(":")
        if not sign or not name.isidentifier() or name not in cls.__annotations__:
            continue
        above: list[str] = []
        while number - 1 - len(above) in alone:
            above.insert(0, alone[number - 1 - len(above)])
        texts[name] = behind.get(number) or " ".join(above)
    return texts


def literal(value: Any) -> str:
    """A value as on the command line: `[0.9,0.999]`, `null`, `"\\n\\n"`."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}: {literal(item)}' for name, item in value.items())}}}"
    if isinstance(value, str) and (value != value.strip() or "\n" in value or not value):
        return '"' + value.replace("\n", "\\n") + '"'
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else shown(value)


def choices(kind: Any) -> list[str]:
    """The values of a type that has few: of a Literal, of true and false, and of lists and unions of them."""
    if kind is bool:
        return ["true", "false"]
    if get_origin(kind) is Literal:
        return [literal(value) for value in get_args(kind)]
    if kind is type(None):
        return ["null"]
    if get_origin(kind) is dict:
        return []
    inside = [choices(member) for member in get_args(kind) if not isinstance(member, str)]
    listed = [value for values in inside for value in values]
    return listed if listed != ["null"] else []
