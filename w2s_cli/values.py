"""The check and conversion of values by annotated types: the one mechanism for types, ranges and allowed values of fields and arguments.

* Types: bool, int, float, str, None, Any, Literal, unions, lists, dictionaries (`dict[Literal["a", "b"], Any]` has only these names),
  dataclasses, and `Annotated` with the constraints of annotated-types. A constraint can also be a Literal (one of some numbers), a text
  (which replaces the words of the message), `Matches` or `Either`. Any other type is not checked.
* The conversions fit a command line and YAML: `lr=1` means 1.0, and "1e-5" is a number. `true` is no number, and 1.5 and 3.0 are no
  whole numbers. Floats are finite.
* All misfits of one configuration are collected, with one message each: the field, its value, and the allowed values.
* pydantic accepts true as 1, or in its strict mode refuses a dictionary for a dataclass. Its import and its models take 0.08 s of each
  command, a fifth of the whole. So annotated-types states the ranges, and this file checks them.
"""

import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen

from w2s_cli.errors import did_you_mean

MISSING: Any = "???"  # in place of a required value
TRUE, FALSE = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")
LONGEST = 60  # characters of a value in a message


class _NoFit(Exception):  # noqa: N818 - never leaves this file
    """The value has another type."""


@dataclass(frozen=True)
class Either:
    """A constraint of two arguments: exactly one of this argument and the `other` has a value, the other is null."""

    other: str


@dataclass(frozen=True)
class Matches:
    """A constraint of a text: all of it matches the regular expression."""

    pattern: str


def fit(value: Any, kind: Any, where: str, misfits: list[str]) -> Any:
    """`value` converted to `kind`.

    Args:
        where: the name of the field, for messages.
        misfits: receives a message for every misfit; a misfit value is returned unchanged.
    """
    if isinstance(value, str) and value == MISSING:
        misfits.append(f"{where} has no value: set it on the command line, {where}=…")
        return value
    inner, rules = _taken_apart(kind)
    misfits_before = len(misfits)
    try:
        converted = _of_type(value, inner, where, misfits)
        if (
            len(misfits) == misfits_before
            and converted is not None
            and not all(_holds(rule, converted) for rule in rules)
        ):
            raise _NoFit
    except _NoFit:
        misfits.append(_message(where, value, kind))
        return value
    return converted


def fit_fields(values: Mapping[str, Any], cls: Any, where: str, misfits: list[str]) -> dict[str, Any]:
    """`values` as the fields of a dataclass, in its order; an absent field has its default."""
    kinds = {field.name: field for field in fields(cls)}
    prefix = f"{where}." if where else ""
    misfits += _unknown(values, kinds, prefix)
    converted = {}
    for name, field in kinds.items():
        if name in values:
            value = values[name]
        elif field.default_factory is not NO_DEFAULT:
            value = {} if is_dataclass(field.default_factory) else field.default_factory()
        else:
            value = field.default
        converted[name] = fit(value, field.type, prefix + name, misfits)
    return converted


def _unknown(values: Mapping[str, Any], names: Collection[str], prefix: str) -> list[str]:
    """A message for each name of `values` that is none of `names`."""
    return [f'unknown field "{prefix}{name}".{did_you_mean(str(name), names)}' for name in values if name not in names]


def words(kind: Any) -> str:
    """The allowed values of `kind` in words: "a number between 0 and 1, or null"."""
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
    if inner is Any:
        return "a text, a finite number, a list or a dictionary of such"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    name = names.get(inner) or ("a dictionary" if _plain(inner) in (dict, Mapping) else "a list")
    return " ".join(filter(None, [name, _bounds(rules)]))


def shown(value: Any) -> str:
    """A value as on the command line, cut to LONGEST characters."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _message(where: str, value: Any, kind: Any) -> str:
    allowed = words(kind)
    if isinstance(value, float) and not math.isfinite(value):
        allowed = allowed.replace("a number", "a finite number", 1)
    as_list = f", for example {where}=[{value}]" if allowed.startswith("a list") and isinstance(value, str) else ""
    return f"{where}={shown(value)}: must be {allowed}{as_list}."


@cache  # a sweep fits the same fields hundreds of times
def _taken_apart(kind: Any) -> tuple[Any, list[Any]]:
    """A type and its constraints."""
    if get_origin(kind) is not Annotated:
        return kind, []
    inner, *rules = get_args(kind)
    return inner, [part for rule in rules for part in (rule if isinstance(rule, GroupedMetadata) else [rule])]


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (types.UnionType, typing.Union)


def _plain(kind: Any) -> Any:
    return get_origin(kind) or kind


def _of_type(value: Any, kind: Any, where: str, misfits: list[str]) -> Any:
    """`value` converted to a type without constraints.

    Raises:
        _NoFit: a value of another type. Misfits inside of the value are added to `misfits`.
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
        names, inside = get_args(kind) or (Any, Any)
        if get_origin(names) is Literal:
            misfits += _unknown(value, get_args(names), f"{where}.")
        return {name: fit(item, inside, f"{where}.{name}", misfits) for name, item in value.items()}
    if container in (list, tuple, Sequence):
        return _of_sequence(value, get_args(kind), fixed=container is tuple, where=where, misfits=misfits)
    if not _finite(value):  # JSON, which records and keys are, has no such numbers
        raise _NoFit
    return value


def _finite(value: Any) -> bool:
    """Whether a number, and each number of a list, is finite. The values of a dictionary are fields of their own."""
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _of_union(value: Any, members: Sequence[Any], where: str, misfits: list[str]) -> Any:
    """`value` as the member of its type, else as the first member that it fits."""
    if value is None and types.NoneType in members:
        return None
    inside: list[str] = []
    for member in sorted(members, key=lambda member: type(value) is not _plain(_taken_apart(member)[0])):
        member_misfits: list[str] = []
        converted = fit(value, member, where, member_misfits)
        if not member_misfits:
            return converted
        if isinstance(value, Mapping | list) and not inside and not member_misfits[0].startswith(f"{where}="):
            inside = member_misfits  # a misfit inside a list is a better message than "no number"
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
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise _NoFit from error
    if not math.isfinite(number):
        raise _NoFit
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float | bool) or not _finite(value):
        raise _NoFit
    return str(value)


def _literal(value: Any, allowed: Sequence[Any]) -> Any:
    for choice in allowed:
        if type(choice) is type(value) and choice == value:
            return value
    raise _NoFit


SCALARS = {bool: _bool, int: _int, float: _float, str: _text}


def _holds(rule: Any, value: Any) -> bool:
    """Whether a value satisfies one constraint; true for a rule that is no constraint."""
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
        case Matches(pattern=pattern):
            return re.fullmatch(pattern, value) is not None
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
