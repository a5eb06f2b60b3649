"""Shapes: a JSON file of a store has the fields and types that its readers use, or it reads as missing.

* A shape is a type: a TypedDict, `list[…]`, `dict[str, …]`, `tuple[…]` for a list of that length, a union, a plain type, or `Annotated`
  with functions that must be true of the value. Further fields are allowed, so a later w2s can add some.
* JSON has no limits where Python and its readers have some: numbers are finite and fit into 64 bits, and times have a calendar date.
"""

import sys
import types
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NotRequired, TypedDict, get_args, get_origin, is_typeddict

from w2s_cli.store.files import read_json
from w2s_cli.store.keys import IDENTITY, stage_key

LARGEST = 2**63


def fits(value: Any, shape: Any) -> bool:
    """Whether a value of JSON has the shape."""
    return _check(shape)(value)


@cache  # a sweep has thousands of results
def _check(shape: Any) -> Callable[[Any], bool]:
    """The function that tells whether a value has the shape."""
    outer, inner = get_origin(shape) or shape, get_args(shape)
    if is_typeddict(shape):
        return _check_fields(shape)
    if outer is Annotated:
        inside, rules = _check(inner[0]), inner[1:]
        return lambda value: inside(value) and all(rule(value) for rule in rules)
    if outer in (types.UnionType, typing.Union):
        checks = [_check(kind) for kind in inner]
        return lambda value: any(check(value) for check in checks)
    if outer is dict:
        item = _check(inner[1] if inner else Any)
        return lambda value: isinstance(value, dict) and all(map(item, value.values()))
    if outer is list:
        item = _check(inner[0] if inner else Any)
        return lambda value: isinstance(value, list) and all(map(item, value))
    if outer is tuple:
        checks = [_check(kind) for kind in inner]
        return lambda value: (
            isinstance(value, list)
            and len(value) == len(checks)
            and all(check(item) for check, item in zip(checks, value, strict=True))
        )
    if shape is float:
        return lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max  # false for NaN
    if shape is int:
        return lambda value: type(value) is int and abs(value) < LARGEST
    return lambda value: shape is Any or type(value) is shape


def _check_fields(shape: Any) -> Callable[[Any], bool]:
    """As `_check`, for a TypedDict."""
    required, hints = shape.__required_keys__, typing.get_type_hints(shape, include_extras=True)
    fields = {n: _check(get_args(hint)[0] if get_origin(hint) is NotRequired else hint) for n, hint in hints.items()}
    return lambda value: (
        isinstance(value, dict)
        and required <= value.keys()
        and all(check(value[name]) for name, check in fields.items() if name in value)
    )


def _are_inside(names: dict[str, Any]) -> bool:
    """Whether all names are of files inside a folder."""
    paths = [PurePosixPath(name) for name in names]
    return all(path.parts and not path.is_absolute() and ".." not in path.parts for path in paths)


Time = Annotated[float, lambda seconds: 0 <= seconds < 1e11]  # since 1970


class File(TypedDict):
    """One file of a result."""

    size: int
    sha256: str


class Manifest(TypedDict):
    """result/manifest.json."""

    files: Annotated[dict[str, File], _are_inside]
    metrics: dict[str, Any]


class Git(TypedDict):
    """The checkout of the code."""

    commit: str
    dirty: str | None


class Provenance(TypedDict, total=False):
    """Code, versions and machine of a stage."""

    w2s: str
    python: str
    libraries: dict[str, str | None]
    host: str
    platform: str
    processor: str
    device: str
    git: Git | None
    command: str


class Record(TypedDict, total=False):
    """record.json."""

    run: str
    format: int
    result: str
    key: str
    kind: str
    gives: str | None
    name: str
    code: str
    started: Time
    ended: Time
    wall_s: float
    cpu_s: float
    peak_memory_mib: float
    inputs: dict[str, str]
    times: dict[str, int]
    pruned: list[str]
    pulled: str
    provenance: Provenance
    execution: dict[str, Any]
    measured: dict[str, Any]


class Tracker(TypedDict):
    """The trackers of a stage, and what they are told beside its identity."""

    names: list[Annotated[str, str.isidentifier]]
    group: str
    methods: list[str]
    about: dict[str, str | int]


class Execution(TypedDict, total=False):
    """Settings of a worker beside the identity."""

    folders: list[str]
    tracker: Tracker


class Job(TypedDict):
    """stage.json."""

    name: str
    kind: str
    key: str
    params: dict[str, Any]
    inputs: dict[str, str | list[str]]
    format: NotRequired[int]
    version: NotRequired[int]
    execution: NotRequired[Execution]


def read_record(folder: Path) -> dict[str, Any] | None:
    """record.json of a stage; None if it is missing or has another shape."""
    return _read(folder / "record.json", Record)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """result/manifest.json of a stage; None if it is missing or has another shape."""
    return _read(folder / "result" / "manifest.json", Manifest)


def read_job(folder: Path) -> dict[str, Any] | None:
    """stage.json of a stage; None if it is missing or has another shape."""
    return _read(folder / "stage.json", Job)


def read_own_job(folder: Path) -> dict[str, Any] | None:
    """stage.json, if it holds the stage that the folder's key names; None if it is missing, or was edited."""
    job = read_job(folder)
    identity = {name: job.get(name) for name in IDENTITY} if job else {}
    return job if job and folder.name.endswith(f"-{stage_key(identity)}") else None


def _read(path: Path, shape: Any) -> dict[str, Any] | None:
    content = read_json(path)
    return content if fits(content, shape) else None
