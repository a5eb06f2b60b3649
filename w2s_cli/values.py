"""Values made to fit annotated types: the one mechanism for the types, ranges and allowed values of fields and arguments.

* The language of types: bool, int, float, str, None, Any, Literal, unions, lists, dictionaries, dataclasses, and `Annotated` with the
  constraints of annotated-types. A constraint may also be a Literal (one of some numbers), a text (it replaces the words of the
  message), or `Either`. A type outside the language is not checked.
* The conversions are those of a command line and of YAML: `lr=1` means 1.0, and "1e-5" is a number. `true` is no number, and 1.5 and
  3.0 are no whole numbers. Floats are finite.
* All misfits of one configuration are collected, one message each: what has which value, and what it must be.
* pydantic would take true for 1 and refuse a dictionary for a dataclass in its strict mode; importing it and building its models takes
  0.08 s of each command, a fifth of the whole. So annotated-types says the ranges, and this file checks them.
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen

from w2s_cli.errors import did_you_mean

MISSING: Any = "???"  # a value that has to be given
TRUE, FALSE = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")
LONGEST = 60  # characters of a value in a message


class _NoFit(Exception):  # noqa: N818 - never leaves this file
    """The value has another type."""


@dataclass(frozen=True)
class Either:
    """A constraint of an argument: it or the `other` argument has a value, and one of the two is null."""

    other: str


@dataclass(frozen=True)
class With:
    """A note on a field: it has an effect only together with a word such as `train=lora`."""

    word: str


def fit(value: Any, kind: Any, where: str, misfits: list[str]) -> Any:
    """`value` as `kind` wants it.

    Args:
        where: the name of the field, for messages.
        misfits: gets a message for everything that does not fit; such a value comes back as it is.
    """
    if isinstance(value, str) and value == MISSING:
        misfits.append(f"{where} has no value: give it on the command line, {where}=…")
        return value
    inner, rules = _taken_apart(kind)
    before = len(misfits)
    try:
        made = _of_type(value, inner, where, misfits)
        if len(misfits) == before and made is not None and not all(_holds(rule, made) for rule in rules):
            raise _NoFit
    except _NoFit:
        misfits.append(_message(where, value, kind))
        return value
    return made


def fit_fields(values: Mapping[str, Any], cls: Any, where: str, misfits: list[str]) -> dict[str, Any]:
    """`values` as the fields of a dataclass, in its order; a field that is left out has its default."""
    kinds = {field.name: field for field in fields(cls)}
    prefix = f"{where}." if where else ""
    misfits += [
        f'unknown field "{prefix}{name}".{did_you_mean(str(name), kinds)}' for name in values if name not in kinds
    ]
    made = {}
    for name, field in kinds.items():
        if name in values:
            value = values[name]
        elif field.default_factory is not NO_DEFAULT:
            value = {} if is_dataclass(field.default_factory) else field.default_factory()
        else:
            value = field.default
        made[name] = fit(value, field.type, prefix + name, misfits)
    return made


def words(kind: Any) -> str:
    """What a value of `kind` must be: "a number between 0 and 1, or null"."""
    inner, rules = _taken_apart(kind)
    for rule in rules:
        if isinstance(rule, str):
            return rule
    if _is_union(inner):
        members = [words(member) for member in get_args(inner) if member is not types.NoneType]
        nothing = ", or null" if types.NoneType in get_args(inner) else ""
        bounds = _bounds(rules)
        return " or ".join(members) + (f" {bounds}" if bounds else "") + nothing
    if get_origin(inner) is Literal:
        return _one_of(get_args(inner))
    if is_dataclass(inner):
        return f"a group of fields ({', '.join(field.name for field in fields(inner))})"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    name = names.get(inner) or ("a dictionary" if _plain(inner) in (dict, Mapping) else "a list")
    return " ".join(filter(None, [name, _bounds(rules)]))


def shown(value: Any) -> str:
    """A value as it is typed, cut where it is long."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _message(where: str, value: Any, kind: Any) -> str:
    said = words(kind)
    if isinstance(value, float) and not math.isfinite(value):
        said = said.replace("a number", "a finite number", 1)
    return f"{where}={shown(value)}: must be {said}."


def _taken_apart(kind: Any) -> tuple[Any, list[Any]]:
    """A type and its constraints."""
    if get_origin(kind) is not Annotated:
        return kind, []
    inner, *rules = get_args(kind)
    return inner, [one for rule in rules for one in (rule if isinstance(rule, GroupedMetadata) else [rule])]


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (types.UnionType, typing.Union)


def _plain(kind: Any) -> Any:
    return get_origin(kind) or kind


def _of_type(value: Any, kind: Any, where: str, misfits: list[str]) -> Any:
    """`value` converted to a type without constraints.

    Raises:
        _NoFit: it is of another type. What is wrong inside of it is added to `misfits`.
    """
    if kind is None or kind is types.NoneType:
        return _none(value)
    if kind in SCALARS:
        return SCALARS[kind](value)
    if _is_union(kind):
        return _of_union(value, get_args(kind), where, misfits)
    if get_origin(kind) is Literal:
        return _literal(value, get_args(kind))
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise _NoFit
        return fit_fields(value, kind, where, misfits)
    container = _plain(kind)
    if container in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _NoFit
        inside = get_args(kind)[1] if get_args(kind) else Any
        return {name: fit(item, inside, f"{where}.{name}", misfits) for name, item in value.items()}
    if container in (list, tuple, Sequence):
        return _of_sequence(value, get_args(kind), fixed=container is tuple, where=where, misfits=misfits)
    return value


def _of_union(value: Any, members: Sequence[Any], where: str, misfits: list[str]) -> Any:
    """`value` as the member that has its type, else as the first that it fits."""
    if value is None and types.NoneType in members:
        return None
    inside: list[str] = []
    for member in sorted(members, key=lambda member: type(value) is not _plain(_taken_apart(member)[0])):
        found: list[str] = []
        made = fit(value, member, where, found)
        if not found:
            return made
        if isinstance(value, Mapping | list) and not inside and not found[0].startswith(f"{where}="):
            inside = found  # what is wrong in a list says more than that it is no number
    if not inside:
        raise _NoFit
    misfits += inside
    return value


def _of_sequence(value: Any, inside: tuple[Any, ...], *, fixed: bool, where: str, misfits: list[str]) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _NoFit
    if fixed and inside and inside[-1] is not Ellipsis:
        if len(value) != len(inside):
            raise _NoFit
        kinds = inside
    else:
        kinds = (inside[0] if inside else Any,) * len(value)
    return [fit(item, kind, f"{where}[{i}]", misfits) for i, (item, kind) in enumerate(zip(value, kinds, strict=True))]


def _none(value: Any) -> None:
    if value is not None:
        raise _NoFit


def _bool(value: Any) -> bool:
    text = str(value).lower() if isinstance(value, bool | int | str) else ""
    if text not in TRUE + FALSE:
        raise _NoFit
    return text in TRUE


def _int(value: Any) -> int:
    if type(value) not in (int, str):  # a bool is an int for isinstance
        raise _NoFit
    try:
        return int(value)
    except ValueError as error:
        raise _NoFit from error


def _float(value: Any) -> float:
    if type(value) not in (float, int, str):
        raise _NoFit
    try:
        made = float(value)
    except (ValueError, OverflowError) as error:
        raise _NoFit from error
    if not math.isfinite(made):
        raise _NoFit
    return made


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float | bool):
        raise _NoFit
    return str(value)


def _literal(value: Any, allowed: Sequence[Any]) -> Any:
    for one in allowed:
        if type(one) is type(value) and one == value:
            return value
    raise _NoFit


SCALARS = {bool: _bool, int: _int, float: _float, str: _text}


def _holds(rule: Any, value: Any) -> bool:
    """Whether a value keeps to one constraint; what is no constraint holds."""
    if get_origin(rule) is Literal:
        return value in get_args(rule)
    match rule:
        case Gt(gt=least):
            return bool(value > least)
        case Ge(ge=least):
            return bool(value >= least)
        case Lt(lt=most):
            return bool(value < most)
        case Le(le=most):
            return bool(value <= most)
        case MinLen(min_length=least):
            return len(value) >= least
        case MaxLen(max_length=most):
            return len(value) <= most
    return True


def _bounds(rules: Sequence[Any]) -> str:
    """Constraints in words: "between 0 and 1"."""
    return " and ".join(_bound_words(rules))


def _bound_words(rules: Sequence[Any]) -> Iterator[str]:
    lower = next((rule for rule in rules if isinstance(rule, Gt | Ge)), None)
    upper = next((rule for rule in rules if isinstance(rule, Lt | Le)), None)
    if isinstance(lower, Ge) and isinstance(upper, Le):
        yield f"between {_number(lower.ge)} and {_number(upper.le)}"
    else:
        if lower is not None:
            yield f"greater than {_number(lower.gt)}" if isinstance(lower, Gt) else f"of at least {_number(lower.ge)}"
        if upper is not None:
            yield f"below {_number(upper.lt)}" if isinstance(upper, Lt) else f"of at most {_number(upper.le)}"
    for rule in rules:
        if get_origin(rule) is Literal:
            yield f"of {' or '.join(map(shown, get_args(rule)))}"
        elif isinstance(rule, MinLen):
            yield f"of at least {rule.min_length} entries"
        elif isinstance(rule, MaxLen):
            yield f"of at most {rule.max_length} entries"


def _number(value: Any) -> str:
    power = value.bit_length() if isinstance(value, int) else 0
    return f"2^{power} - 1" if power > 16 and value == 2**power - 1 else f"{value:g}"


def _one_of(allowed: Sequence[Any]) -> str:
    return f"one of {', '.join(map(shown, allowed))}" if len(allowed) > 1 else shown(allowed[0])
