"""Shapes: a JSON file of a store has the fields and types that its readers use, or it reads as missing.

* A shape is a type: a TypedDict, `list[…]`, `dict[str, …]`, `tuple[…]` for a list of that length, a union, a plain type, or `Annotated`
  with functions that must be true of the value. Further fields are allowed, so a later w2s can add some.
* JSON has no limits where Python and its readers have some: numbers are finite and fit into 64 bits, and times have a calendar date.
"""

import sys
import types
import typing
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NotRequired, TypedDict, get_args, get_origin, is_typeddict

from w2s_cli.store.files import read_json
from w2s_cli.store.keys import IDENTITY, stage_key

LARGEST = 2**63


def fits(value: Any, shape: Any) -> bool:
    """Whether a value of JSON has the shape."""
    outer, inner = get_origin(shape) or shape, get_args(shape)
    if is_typeddict(shape):
        required, fields = _fields(shape)
        return (
            isinstance(value, dict)
            and required <= value.keys()
            and all(fits(value[name], kind) for name, kind in fields.items() if name in value)
        )
    if outer is Annotated:
        return fits(value, inner[0]) and all(rule(value) for rule in inner[1:])
    if outer in (types.UnionType, typing.Union):
        return any(fits(value, kind) for kind in inner)
    if outer is dict:
        return isinstance(value, dict) and (not inner or all(fits(item, inner[1]) for item in value.values()))
    if outer is list:
        return isinstance(value, list) and (not inner or all(fits(item, inner[0]) for item in value))
    if outer is tuple:
        return isinstance(value, list) and len(value) == len(inner) and all(map(fits, value, inner))
    if shape is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # false for NaN
    if shape is int:
        return type(value) is int and abs(value) < LARGEST
    return shape is Any or type(value) is shape


@cache
def _fields(shape: Any) -> tuple[frozenset[str], dict[str, Any]]:
    """Required fields, and the shape of every field, of a TypedDict."""
    hints = typing.get_type_hints(shape, include_extras=True)
    return shape.__required_keys__, {n: get_args(t)[0] if get_origin(t) is NotRequired else t for n, t in hints.items()}


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
    provenance: Provenance
    execution: dict[str, Any]
    measured: dict[str, Any]


class Execution(TypedDict, total=False):
    """Settings of a worker beside the identity."""

    folders: list[str]


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
