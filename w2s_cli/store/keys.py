"""When are two stages the same stage? When their canonical JSON is the same bytes.

* A stage's identity is {format, kind, version, params, inputs}: what determines the result, and nothing else. Device, paths,
  threads and cadence live in the `execution` part of stage.json, which is never hashed, so there is no exclude list to forget.
* Canonical JSON: sorted keys, no white space, no NaN; a type that JSON does not have is refused loudly. 1 and 1.0 differ here: values
  are cast to the type of their field before they come here.
* The key is the first 12 hex digits of the sha256; a hit compares the whole identity, so 12 digits need only be handy.
* Code that defines a result (a loss, a data transform) enters the params by the hash of its syntax tree: a comment or a docstring
  changes no key, a changed constant does.
"""

import ast
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT = 1
KEY_DIGITS = 12


def canonical_json(value: Any) -> str:
    """The one spelling of `value`; TypeError for what JSON cannot say exactly."""
    _check(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _check(value: Any, where: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value} has no place in an identity")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{where}: key {name!r} is not a string")
            _check(item, f"{where}.{name}")
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    else:
        raise TypeError(f"{where}: {type(value).__name__} has no canonical form")


def identity(kind: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What is hashed. `inputs` maps an edge's name to the key (or list of keys) it reads."""
    return {"format": FORMAT, "kind": kind, "version": version, "params": dict(params), "inputs": dict(inputs)}


def stage_key(ident: Mapping[str, Any]) -> str:
    """The 12 hex digits that name a stage."""
    return hashlib.sha256(canonical_json(ident).encode()).hexdigest()[:KEY_DIGITS]


def ast_hash(path: Path) -> str:
    """12 hex digits of a Python file's meaning: its syntax tree without docstrings, comments and layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:KEY_DIGITS]
