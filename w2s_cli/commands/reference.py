"""The page docs/fields.md: all groups, fields, arguments and stage kinds with types, ranges, defaults and meanings.

All of it is read: fields from the schema, choices from configs/, arguments from the signatures of losses and rules, stage kinds from the
signatures of their `plan`.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, get_origin

from w2s_cli.commands.help import groups_of_files
from w2s_cli.config.described import Described, described, groups, literal
from w2s_cli.pipeline import kinds
from w2s_cli.pipeline.arguments import REQUIRED, signature
from w2s_cli.plugins import code_names, find_code
from w2s_cli.values import words

HEAD = """\
# Fields

Every group, field and argument of the command line: type, range, default and meaning. `w2s config --reference` writes this page from the
code; a test compares them. `w2s config FIELD` shows one field with its value in a run and where that comes from, `w2s COMMAND --help` the
fields of a command.

```bash
w2s config                                       # the whole configuration of w2s train, and the origin of every value
w2s config strong loss=logconf strong.lr=3e-5    # one group
w2s config loss.args.alpha loss=logconf          # one field, with its meaning
```

A default is the schema's. The YAML file of the chosen NAME may set another one: `w2s config` says which file does."""
CODE = {  # folder → title
    "losses": "Arguments of losses: `loss.args.ARGUMENT`",
    "combining": "Arguments of rules for several supervisors: `combine.args.ARGUMENT`",
    "selection": "Arguments of rules for labels, and of controls: `select.args.ARGUMENT`, `control.args.ARGUMENT`",
}


def page() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *_groups(), *_code(), *_kinds()]) + "\n"


def _groups() -> Iterator[str]:
    files = groups_of_files()
    fields = list(described())
    yield from ["", "## Fields of no group", ""]
    yield from _table(field for field in fields if "." not in field.name)
    for cls, names in groups().items():
        first = names[0]
        yield from ["", f"## {', '.join(f'`{name}`' for name in names)}", "", _sentence(cls.__doc__)]
        choices = files.get("model" if first in ("weak", "strong") else first)
        if choices:
            yield f"`{first}=NAME`: {', '.join(f'`{name}`' for name in choices)}."
        yield ""
        yield from _table(field for field in fields if field.name.partition(".")[0] == first)
        for other in names[1:]:
            yield from ["", f"The same for `{other}.*`."]


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split()).replace("*", "\\*")


def _table(fields: Any) -> Iterator[str]:
    yield from ["| field | values | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        yield _row(field)


def _row(field: Described) -> str:
    return _line([f"`{field.name}`", field.allowed, f"`{field.written}`", field.meaning])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _code() -> Iterator[str]:
    for folder, title in CODE.items():
        yield from ["", f"## {title}", "", "| function | argument | values | default |", "|---|---|---|---|"]
        for name in code_names(folder):
            arguments = signature(find_code(folder, name), name)
            for argument, (kind, default) in arguments.items():
                value = "required" if default is REQUIRED else f"`{literal(default)}`"
                yield _line([f"`{name}`", f"`{argument}`", words(kind), value])
            if not arguments:
                yield _line([f"`{name}`", "none", "", ""])


def _kinds() -> Iterator[str]:
    yield from [
        "",
        "## Fields of stage kinds, in a method's YAML",
        "",
        "| kind | field | values | default |",
        "|---|---|---|---|",
    ]
    for name in kinds.kind_names():
        kind = kinds.find(name)
        if kind.traits.implied:
            continue
        parameters = inspect.signature(kind.plan).parameters
        for field in kind.fields.values():
            default = parameters[field.name].default
            value = "required" if field.required else _default(default)
            yield _line([f"`{name}`", f"`{field.name}`", _edge(field), value])


def _edge(field: kinds.Field) -> str:
    """What a field of a stage names, in words."""
    if field.type is None:
        plain = field.values if get_origin(field.values) is not None or isinstance(field.values, type) else Any
        return words(plain)
    one = {"Pool": "a pool of rows", "Labels": "a stage with labels", "Edge": "a stage", "Model": "a model"}
    return f"{'a list, each ' if field.several else ''}{one[field.type.__name__]}"


def _default(value: Any) -> str:
    name = getattr(value, "name", None)  # TRUTH
    return f"`{name if isinstance(name, str) else literal(value)}`"
