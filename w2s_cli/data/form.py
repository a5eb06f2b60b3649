"""From a source's row to a text and a label, or to a problem with its answer, by the data set's YAML.

A template is a format string over the row's fields, with plain names only (`{question}`), so that a YAML cannot reach into objects. A
list becomes lines. The parts of a problem (PROBLEM) are columns, or templates. For anything beyond a template, the YAML names one
function, a transform, which is loaded by name as losses are.
"""

import hashlib
import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from w2s_cli.data.labels import class_reader, refuse_bad
from w2s_cli.data.rows import Rows
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.plugins import function_of, load_code
from w2s_cli.statistics.draw import fingerprint, uniform

Transform = Callable[..., dict[str, Any] | None]
Grouping = Callable[..., Sequence[Any]]  # (row, **options) → values that are equal in all rows of a group
TAKEN = ("pool", "order")  # purposes of draws in `pools.py`
TRANSFORMS = "data/transforms"
PROBLEM = (
    "prompt",
    "answer",
    "solution",
    "level",
)  # the parts of a problem: fields of a recipe, columns of rows.parquet


LEFT_OUT, ELSEWHERE = "left out by ", "with a "  # beginnings of the reasons that a recipe or data.drop_overlap asks for


class UnusableRowError(Exception):
    """An unusable row; the message is the reason, as it stands behind a number of rows, and rows are counted by reason."""


def normalised(text: str) -> str:
    """The text in lower case and with single spaces: texts that differ in nothing else count as one."""
    return " ".join(text.lower().split())


def text_key(*texts: str) -> bytes:
    """The same for texts that are equal when normalised, and for a pair and its reverse."""
    alike = sorted(map(normalised, texts))
    return hashlib.blake2b("\0".join(alike).encode(), digest_size=16).digest()


class Formed(NamedTuple):
    """A source's row as text and label, as a problem, or as both."""

    text: str  # of a pair: the first text; of a problem without a label: its prompt
    second: str | None  # of a pair: the second text
    label: int | None  # class number; of a pair 1: the second is preferred; None: the data set has no labels
    problem: Mapping[str, str | None]  # part of PROBLEM → its text, None: it may be missing; empty without data.prompt

    @property
    def key(self) -> bytes:
        """`text_key` of its texts."""
        return text_key(self.text) if self.second is None else text_key(self.text, self.second)


def former(
    dataset: Mapping[str, Any],
    rows: Rows,
    classes: Sequence[str],
    transform: Transform | None,
    *,
    seed: int,
    second: str | None = None,
    problem: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
) -> Callable[[str, dict[str, Any]], Formed]:
    """A function (row id, row) → `Formed` that raises `UnusableRowError`.

    Args:
        dataset: name, text or template, label, options (see `recipe.py`).
        rows: where the rows come from, for messages.
        classes: names of the classes.
        transform: see `data/transforms`.
        seed: of drawn labels.
        second: the template of the second text of a pair.
        problem: part of PROBLEM → its column or template.
        optional: parts without which a row is usable too.

    Raises:
        UserError: a missing field of text, label, problem or template (at once if no transform could add it).
    """
    texts, parts, label = _texts(dataset, second), _parts(problem or {}), label_column(dataset)
    asked = needed(dataset, second, problem)
    if transform is None:
        for field, option in asked:
            rows.need(field, option)
    read_label = class_reader(classes)

    def fault(value: Any) -> str | None:
        number = read_label(value)
        return number if isinstance(number, str) else None

    def form(name: str, row: dict[str, Any]) -> Formed:
        if transform is not None:
            row = {**row, **_call(transform, row, dataset, name, seed, rows)}
        for field, option in asked:
            if field not in row and field not in rows.columns:  # JSON lines may omit a null field
                raise UserError(
                    f'{rows.shown}: neither a column nor the transform gives "{field}" ({option}).'
                    f"{did_you_mean(field, row)}"
                )
        where = f"{rows.shown}, row {name}"
        made = [_text("text", row, template, fields, where) for _, template, fields in texts]
        if len(set(made)) < len(made):
            raise UnusableRowError("with two equal texts")
        solved = {
            part: _part(part, row, template, fields, where, optional=part in optional)
            for part, template, fields in parts
        }
        if label is None:
            return Formed(str(solved["prompt"]), None, None, solved)
        number = read_label(row.get(label))
        if isinstance(number, str):
            if transform is None:  # the rows of the whole split are looked at, to name all bad ones
                refuse_bad(rows, label, rows.column(label), fault)
            raise UserError(f'{rows.shown}, column "{label}", row {name}: {number}')
        return Formed(made[0], made[1] if second else None, number, solved)

    return form


def label_column(dataset: Mapping[str, Any]) -> str | None:
    """The column of the labels; None of a data set of problems alone, which has neither data.text nor data.template."""
    return (dataset["label"] or "label") if dataset["text"] or dataset["template"] else None


def needed(
    dataset: Mapping[str, Any], second: str | None, problem: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """(field, option with its name) of everything that a row's texts, its problem and its label are made of."""
    fields = [(field, option) for option, _, names in _texts(dataset, second) for field in names]
    fields += [(field, f"data.{part}") for part, _, names in _parts(problem or {}) for field in names]
    label = label_column(dataset)
    return fields if label is None else [*fields, (label, "data.label")]


def problem_parts(data: Mapping[str, Any]) -> dict[str, str] | None:
    """Part of PROBLEM → its column or template, of a recipe with data.prompt; None without."""
    return {part: data[part] for part in PROBLEM if data[part]} if data["prompt"] else None


def _parts(problem: Mapping[str, str]) -> list[tuple[str, str | None, list[str]]]:
    """(part, template or None, fields) of each part of a problem."""
    return [
        (part, how, template_fields(how, f"data.{part}")) if "{" in how else (part, None, [how])
        for part, how in problem.items()
    ]


def _part(
    part: str, row: Mapping[str, Any], template: str | None, fields: Sequence[str], where: str, *, optional: bool
) -> str | None:
    """One part of a problem; a column may hold a number. None: an optional part that the row has not."""
    if template is None and isinstance(row.get(fields[0]), int | float):
        template = f"{{{fields[0]}}}"
    try:
        return _text(part, row, template, fields, where)
    except UnusableRowError:
        if optional:
            return None
        raise


def _texts(dataset: Mapping[str, Any], second: str | None) -> list[tuple[str, str | None, list[str]]]:
    """(option, template, fields) of each text of a row; none of a problem alone."""
    template = dataset["template"]
    if not template and not dataset["text"]:
        return []
    first = (
        ("data.template", template, template_fields(template)) if template else ("data.text", None, [dataset["text"]])
    )
    return [first, *([("data.second", second, template_fields(second, "data.second"))] if second else [])]


def _text(what: str, row: Mapping[str, Any], template: str | None, fields: Sequence[str], where: str) -> str:
    """One text of a row, called `what`: the filled template, or the only field."""
    for field in fields:
        if row.get(field) is None or row[field] != row[field]:  # NaN: how tables write a missing value
            raise UnusableRowError(_without(what, field))
    shown = {field: _shown(row[field], f'{where}, column "{field}"') for field in fields} if template else row
    text = template.format(**shown) if template else row[fields[0]]
    if not isinstance(text, str):
        raise UnusableRowError(f"whose {what} is no text ({_columns(fields)})")
    if not text.strip():
        raise UnusableRowError(_without(what, *fields))
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, from broken JSON
        raise UnusableRowError(f"whose {what} is not valid Unicode ({_columns(fields)})") from error
    return text


def _without(what: str, *fields: str) -> str:
    """'without an answer (column answer)'"""
    return f"without {'an' if what[0] in 'aeiou' else 'a'} {what} ({_columns(fields)})"


def _columns(fields: Sequence[str]) -> str:
    return f"column{'s' * (len(fields) > 1)} {', '.join(fields)}"


def _shown(value: Any, where: str) -> Any:
    """The value as it is shown in a text: a list (turns of a dialogue, endings) as lines.

    Raises:
        UserError: a value that would be written as Python: a record such as a chat message, a list in a list, bytes, a null in a list.
    """
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if entry is None or isinstance(entry, dict | list | tuple | bytes):
            what = (
                f"a record with the fields {', '.join(entry)}"
                if isinstance(entry, dict)
                else f"a value of type {type(entry).__name__}"
            )
            raise UserError(
                f"{where}: {what}. A template writes texts, numbers and lists of them; for chat messages and other records, name a "
                "function that makes a text of them (data.transform, docs/own.md)."
            )
    return "\n".join(map(str, entries)) if isinstance(value, list) else value


def template_fields(template: str, option: str = "data.template") -> list[str]:
    """The names between braces of a template, in order.

    Raises:
        UserError: unpaired braces, or something other than a plain name between them.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f'{option} "{template}": {error}. A brace that is meant as text is written twice.') from error
    fields = [name for _, name, _, _ in parsed if name is not None]
    for _, name, format_spec, conversion in parsed:
        if name is not None and (not name.isidentifier() or format_spec or conversion):
            raise UserError(
                f'{option} "{template}": {{{name}}} is no plain column name; a brace that is meant as text is written twice.'
            )
    return list(dict.fromkeys(fields))


def find_transform(name: str, folders: Sequence[str], code: str | None) -> Transform:
    """The function `name` of `data/transforms/<name>.py`: in the user's folders first, then in the package.

    Raises:
        UserError: no such file or function, or code other than `code`, the hash in the plan.
    """
    module, path = load_code(TRANSFORMS, name, folders, planned=code)
    transform: Transform = function_of(module, path, "row, *, draw, …")
    return transform


def find_grouping(name: str, folders: Sequence[str], code: str | None) -> Grouping | None:
    """The function `group` of the transform's file, which groups rows without a column for it; None without such a function."""
    module, _ = load_code(TRANSFORMS, name, folders, planned=code)
    group: Grouping | None = getattr(module, "group", None)
    return group


def check_options(name: str, transform: Transform, options: Mapping[str, Any]) -> None:
    """Refuse options that the transform does not have, and missing options that it needs."""
    parameters = {p.name: p for p in inspect.signature(transform).parameters.values() if p.kind is p.KEYWORD_ONLY}
    parameters.pop("draw", None)
    for option in options:
        if option not in parameters:
            raise UserError(f'data.options: {name} has no option "{option}".{did_you_mean(option, parameters)}')
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise UserError(f'data.options: {name} needs the option "{option}".')


def grouped(group: Grouping, row: dict[str, Any], dataset: Mapping[str, Any], rows: Rows) -> str | None:
    """The name of a row's group by the transform; None for a row without the needed fields, which is a group of its own."""
    try:
        return fingerprint(*group(row, **dataset["options"]))
    except KeyError as error:
        _refuse_missing(str(error.args[0]), dataset, rows)
        return None


def _refuse_missing(column: str, dataset: Mapping[str, Any], rows: Rows) -> None:
    """UserError for a column that is missing in every row."""
    if column not in rows.columns:
        raise UserError(
            f'{rows.shown} has no column "{column}", which the transform {dataset["transform"]} asks for (data.options).'
            f"{did_you_mean(column, rows.columns)}"
        )


def _call(
    transform: Transform, row: dict[str, Any], dataset: Mapping[str, Any], name: str, seed: int, rows: Rows
) -> dict[str, Any]:
    """The fields that the transform adds to one row."""

    def draw(purpose: str) -> float:
        if purpose in TAKEN:
            raise UserError(
                f'the transform {dataset["transform"]} draws for "{purpose}", as the pools do, so that what it draws would decide a '
                "row's place; give the draw another name."
            )
        return uniform(dataset["name"], purpose, seed, name)

    try:
        added = transform(row, draw=draw, **dataset["options"])
    except KeyError as error:
        _refuse_missing(str(error.args[0]), dataset, rows)
        raise UnusableRowError(f"without a value ({_columns([str(error.args[0])])})") from error
    if added is None:
        raise UnusableRowError(f"{LEFT_OUT}{dataset['transform']}")
    return added
