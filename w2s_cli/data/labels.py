"""From the values of a label column to class numbers 0 … K−1.

* With `classes`, labels are these names or their numbers. Without, the sorted distinct values of all splits are the classes, so that
  class numbers do not depend on the classes in one pool.
* `spelled` is the one spelling of a label, in data, in files of labels and in `classes`: spaces around it do not count, and a whole
  number is one label in all its spellings (0.0 is 0: pandas writes a column that once had a NaN so; +1 is 1: libsvm). Text with leading
  zeros is a name, such as a postal code.
* Case: a label is read as the class of its spelling, else as the only class that differs from it in case alone. Without `classes`,
  values that differ in case alone are refused, because nobody has said whether they are one class.
* −1 marks a row without a label, in the hub's data sets and elsewhere. It is a class only if `classes` names it.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from w2s_cli.data.rows import Rows
from w2s_cli.errors import UserError

FEWEST, MOST = 2, 20  # classes
# of a class that nobody named: fewer rows, and a smaller share of all rows, are taken for slips
FEWEST_ROWS, STRAY = 10, 0.1
SHOWN = 5  # places of bad rows in a message
MISSING = "the label is missing (null, NaN or empty)."
TRUE_FALSE = {"false": 0, "true": 1}
UNLABELLED = "-1"
WHOLE = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.0*)?")  # a whole number as text


def spelled(value: Any) -> str:
    """A label or class name as it is compared and shown: 1 for 1.0 and for "1.0", true for True, without spaces around it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:g}"
    text = str(value).strip()
    number = WHOLE.fullmatch(text)
    if number is None:
        return text
    return ("-" if number[1] == "-" and number[2] != "0" else "") + number[2]


def distinct_classes(splits: Iterable[Rows], column: str) -> list[str]:
    """Class names from the label columns of all splits.

    Raises:
        UserError: missing or NaN labels, rows marked as unlabelled, labels of several types, names that differ in case alone, a class
            of a handful of rows, fewer than 2 or more than 20 classes.
    """
    places: dict[Any, str] = {}  # distinct value → where it first stands
    counts: Counter[Any] = Counter()
    where = ""
    for rows in splits:
        values, where = rows.column(column), f'{rows.shown}, column "{column}"'
        refuse_bad(rows, column, values, _no_class_name)
        for number, value in enumerate(values):
            name = spelled(value) if isinstance(value, str) else value
            if name not in places:
                places[name] = f'{rows.place(number)}, column "{column}"'
            counts[name] += 1
            if len(places) > MOST:
                raise UserError(
                    f"{where} has more than {MOST} different values; is it the label column (data.label=)? "
                    f"w2s classifies into {FEWEST} to {MOST} classes."
                )
    _refuse_unlabelled(places)
    _refuse_several_types(places)
    _refuse_several_cases(places)
    if len(places) < FEWEST:
        raise UserError(
            f"{where} has only one class ({', '.join(map(spelled, places))}); nothing can be learned from it."
        )
    _refuse_rare(places, counts)
    return [spelled(value) for value in sorted(places)]


def refuse_bad(rows: Rows, column: str, values: Sequence[Any], fault: Callable[[Any], str | None]) -> None:
    """Refuse (UserError) values with a `fault`; the message has the first one's, and the places of all rows like it, counted."""
    bad = [number for number, value in enumerate(values) if fault(value)]
    if bad:
        places = [rows.place(number).rpartition(" ")[2] for number in bad[:SHOWN]]
        listed = f" {len(bad):,} rows have such a value: {', '.join(places)}{', …' if len(bad) > SHOWN else ''}."
        where = f'{rows.place(bad[0])}, column "{column}"'
        raise UserError(f"{where}: {fault(values[bad[0]])}{listed if len(bad) > 1 else ''}")


def _no_class_name(value: Any) -> str | None:
    """What is wrong with a value as the name or number of a class; None if nothing is."""
    if missing(value):
        return MISSING
    if not isinstance(value, bool | int | str) and not (isinstance(value, float) and value.is_integer()):
        return f"{value!r} is no class label; labels are numbers, names or true/false."
    return None


def _refuse_rare(places: Mapping[Any, str], counts: Mapping[Any, int]) -> None:
    """Refuse classes of so few rows that they may be slips: one stray label would make a task of three classes of one of two."""
    for value in sorted(places):
        if counts[value] < min(FEWEST_ROWS, STRAY * sum(counts.values())):
            number = f"only {counts[value]} of the {sum(counts.values()):,} rows"
            raise UserError(
                f'{places[value]}: {number} ha{"s" if counts[value] == 1 else "ve"} the label "{spelled(value)}". If it is a slip, '
                f"correct the label or leave the row out; if it is a class, name all classes: "
                f"data.classes=[{','.join(spelled(name) for name in sorted(places))}]."
            )


def _refuse_unlabelled(places: Mapping[Any, str]) -> None:
    names = {spelled(value): place for value, place in places.items()}
    if UNLABELLED in names:
        raise UserError(
            f"{names[UNLABELLED]}: the label -1 marks a row without a label. Leave such rows out, or choose splits with labels "
            f"(data.splits); if -1 is a class, name all classes: data.classes=[{','.join(sorted(names))}]."
        )


def _refuse_several_types(places: Mapping[Any, str]) -> None:
    names = [value for value in places if isinstance(value, str)]
    numbers = [value for value in places if not isinstance(value, str)]
    if names and numbers:
        raise UserError(
            f"{places[numbers[0]]}: the label is {numbers[0]!r}, but {names[0]!r} in {places[names[0]]}: the labels mix names and numbers."
        )


def _refuse_several_cases(places: Mapping[Any, str]) -> None:
    alike: dict[str, str] = {}
    for name in sorted(value for value in places if isinstance(value, str)):
        other = alike.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f'{places[name]}: the labels "{other}" and "{name}" differ in case alone. Name the classes with data.classes=[…,…]; '
                "a label is then read in any case."
            )


def class_reader(classes: Sequence[str]) -> Callable[[Any], int | str]:
    """A function value → class number, or a text that says what is wrong with the value.

    Values may be names, numbers of classes (numbers or digits), and, with two classes, true or false.
    """
    names = {spelled(name): number for number, name in enumerate(classes)}
    alike = Counter(name.casefold() for name in names)
    any_case = {name.casefold(): number for name, number in names.items() if alike[name.casefold()] == 1}

    def read(value: Any) -> int | str:
        if missing(value):
            return MISSING
        text = spelled(value)
        number = names.get(text, any_case.get(text.casefold()))
        if number is None and len(classes) == FEWEST:
            number = TRUE_FALSE.get(text.casefold())
        if number is None and text.isdecimal() and int(text) < len(classes):
            number = int(text)
        if number is None:
            unlabelled = " -1 marks a row without a label." if text == UNLABELLED else ""
            return f"the label {value!r} is none of the {len(classes)} classes ({', '.join(classes)}) nor their number.{unlabelled}"
        return number

    return read


def missing(value: Any) -> bool:
    """Whether a value is no label: null, NaN, an empty cell."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "nan"))
