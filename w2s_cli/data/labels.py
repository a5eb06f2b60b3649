"""From the values of a label column to class numbers 0 … K−1.

With `classes`, labels are these names or their indices. Without, the sorted distinct values of all splits are the classes, so that class
numbers do not depend on the classes in one pool.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from w2s_cli.errors import UserError

FEWEST, MOST = 2, 20
TRUE_FALSE = {"false": 0, "true": 1}


def distinct_classes(columns: Iterable[tuple[str, str, list[Any]]]) -> list[str]:
    """Class names from the values of label columns: (file, column, values) per split.

    Raises:
        UserError: missing or NaN labels, labels of several types, fewer than 2 or more than 20 classes.
    """
    values: set[Any] = set()
    where = ""
    for file, column, labels in columns:
        where = f'{file}, column "{column}"'
        for number, value in enumerate(labels):
            if missing(value):
                raise UserError(f"{where}, row {number}: the label is missing (null, NaN or empty).")
            if not isinstance(value, bool | int | str) and not (isinstance(value, float) and value.is_integer()):
                raise UserError(
                    f"{where}, row {number}: {value!r} is no class label; labels are numbers, names or true/false."
                )
            values.add(int(value) if isinstance(value, float) else value)
            if len(values) > MOST:
                raise UserError(
                    f"{where} has more than {MOST} different values; is it the label column (data.label=)? "
                    f"w2s classifies into {FEWEST} to {MOST} classes."
                )
    if len({isinstance(value, str) for value in values}) > 1:
        raise UserError(f"{where} mixes names and numbers: {', '.join(sorted(repr(v) for v in values))}.")
    if len(values) < FEWEST:
        raise UserError(f"{where} has only one class ({', '.join(map(str, values))}); nothing can be learned from it.")
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in sorted(values)]


def class_reader(classes: Sequence[str]) -> Callable[[Any, str], int]:
    """A function (value, its place for messages) → class number.

    Values may be names, indices (numbers or digits), and, with two classes, true or false.
    """
    names = {name: number for number, name in enumerate(classes)}

    def read(value: Any, where: str) -> int:
        if missing(value):
            raise UserError(f"{where}: the label is missing (null, NaN or empty).")
        text = str(value).strip() if not isinstance(value, float) else f"{value:g}"
        number = names.get(text)
        if number is None and len(classes) == FEWEST:
            number = TRUE_FALSE.get(text.lower())
        if number is None and text.isdecimal() and int(text) < len(classes):
            number = int(text)
        if number is None:
            raise UserError(
                f"{where}: the label {value!r} is none of the {len(classes)} classes ({', '.join(classes)}) nor their number."
            )
        return number

    return read


def missing(value: Any) -> bool:
    """Whether a value is no label: null, NaN, an empty cell."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "nan"))
