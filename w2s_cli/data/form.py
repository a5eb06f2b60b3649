"""From a source's row to a text and a label, as the data set's YAML says.

The template is a format string over the row's fields, plain names only (`{question}`), so that a YAML cannot reach into objects. What
it cannot say is done by one function, found by name as losses are.
"""

import importlib.util
import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.data.draw import uniform
from w2s_cli.data.labels import class_reader
from w2s_cli.data.rows import Rows
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.store.keys import ast_hash

Transform = Callable[..., dict[str, Any] | None]
PACKAGED = Path(__file__).parent / "transforms"


class UnusableRowError(Exception):
    """This row cannot be used; the message is the reason that is counted."""


def former(
    dataset: Mapping[str, Any], rows: Rows, classes: Sequence[str], transform: Transform | None, *, seed: int
) -> Callable[[str, dict[str, Any]], tuple[str, int]]:
    """A function (row id, row) → (text, class number) that raises `UnusableRowError`.

    Args:
        dataset: name, text or template, label, options (see `recipe.py`).
        rows: where the rows come from, for messages.
        classes: names of the classes.
        transform: see `data/transforms`.
        seed: of drawn labels.

    Raises:
        UserError: a text, label or template field that the rows do not have (at once where no transform could add it).
    """
    fields = template_fields(dataset["template"]) if dataset["template"] else [dataset["text"]]
    label = dataset["label"] or "label"
    option = "data.template" if dataset["template"] else "data.text"
    if transform is None:
        for field in fields:
            rows.need(field, option)
        rows.need(label, "data.label")
    read_label = class_reader(classes)

    def form(name: str, row: dict[str, Any]) -> tuple[str, int]:
        if transform is not None:
            row = {**row, **_call(transform, row, dataset, name, seed, rows)}
        for field in (*fields, label):
            if field not in row and field not in rows.columns:  # json lines may leave a null field out
                where = "data.label" if field == label else option
                raise UserError(
                    f'{rows.shown}: neither a column nor the transform gives "{field}" ({where}).'
                    f"{did_you_mean(field, row)}"
                )
        for field in fields:
            if row.get(field) is None:
                raise UnusableRowError(f"no {field}")
        text = dataset["template"].format(**row) if dataset["template"] else row[fields[0]]
        if not isinstance(text, str):
            raise UnusableRowError(f"{fields[0]} is not a string")
        if not text.strip():
            raise UnusableRowError("empty text")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half a surrogate pair, as broken JSON has it
            raise UnusableRowError("not valid Unicode") from error
        return text, read_label(row.get(label), f'{rows.shown}, column "{label}", row {name}')

    return form


def template_fields(template: str) -> list[str]:
    """The names between braces of a template, in order.

    Raises:
        UserError: unpaired braces, or more than a plain name between them.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(
            f'data.template "{template}": {error}. A brace that is meant as text is written twice.'
        ) from error
    fields = [name for _, name, _, _ in parsed if name is not None]
    for _, name, format_spec, conversion in parsed:
        if name is not None and (not name.isidentifier() or format_spec or conversion):
            raise UserError(
                f'data.template "{template}": {{{name}}} is no plain column name; a brace that is meant as text is written twice.'
            )
    return list(dict.fromkeys(fields))


def find_transform(name: str, folders: Sequence[str], code: str | None) -> Transform:
    """The function `name` of `data/transforms/<name>.py`: in the user's folders first, then in the package.

    Raises:
        UserError: no such file or function, or another code than `code`, the hash that was planned with.
    """
    files = [*(Path(folder) / "data" / "transforms" / f"{name}.py" for folder in folders), PACKAGED / f"{name}.py"]
    file = next((file for file in files if file.is_file()), None)
    if file is None or not name.isidentifier():
        known = [p.stem for p in PACKAGED.glob("*.py") if p.stem != "__init__"]
        raise UserError(f"data.transform: there is no data/transforms/{name}.py.{did_you_mean(name, known)}")
    if code is not None and ast_hash(file) != code:
        raise UserError(f"{file} was edited after this run was planned; run the command again.")
    spec = importlib.util.spec_from_file_location(f"w2s_transform_{name}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Transform | None = getattr(module, name, None)
    if function is None:
        raise UserError(f"{file} defines no function {name}(row, *, draw, …).")
    return function


def check_options(name: str, transform: Transform, options: Mapping[str, Any]) -> None:
    """Refuse options that the transform does not have, and the lack of those that it needs."""
    parameters = {p.name: p for p in inspect.signature(transform).parameters.values() if p.kind is p.KEYWORD_ONLY}
    parameters.pop("draw", None)
    for option in options:
        if option not in parameters:
            raise UserError(f'data.options: {name} has no option "{option}".{did_you_mean(option, parameters)}')
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise UserError(f'data.options: {name} needs the option "{option}".')


def _call(
    transform: Transform, row: dict[str, Any], dataset: Mapping[str, Any], name: str, seed: int, rows: Rows
) -> dict[str, Any]:
    """The fields that the transform adds to one row."""

    def draw(purpose: str) -> float:
        return uniform(dataset["name"], purpose, seed, name)

    try:
        added = transform(row, draw=draw, **dataset["options"])
    except KeyError as error:
        missing = str(error.args[0])
        if missing in rows.columns:
            raise UnusableRowError(f"no {missing}") from error
        raise UserError(
            f'{rows.shown} has no column "{missing}", which the transform {dataset["transform"]} asks for (data.options).'
            f"{did_you_mean(missing, rows.columns)}"
        ) from error
    if added is None:
        raise UnusableRowError(f"left out by {dataset['transform']}")
    return added
