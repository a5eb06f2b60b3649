"""Keys: two stages are the same stage if their identities have the same canonical JSON.

* A stage's identity is {format, kind, version, params, inputs}: everything that determines the result, and nothing else. Device, paths,
  threads and cadence are in the `execution` part of stage.json, which is never hashed. So no list of exceptions can be incomplete.
* Canonical JSON has sorted keys, no white space and no NaN; a type that JSON does not have is an error. 1 and 1.0 differ, so values must
  have the type of their field.
* The key is the first 12 hex digits of the sha256. The store compares the whole identity as well, so a collision is noticed.
* Code that defines a result (a loss, a data transform) enters the params as the hash of its syntax tree without docstrings, comments,
  imports and annotations. A moved module or a better type changes no key; a changed constant changes it.
* FORMAT rises when the form of the identity changes. Stages of an older format have other keys; they are recognised, but never read.
"""

import ast
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import decode_source
from pathlib import Path
from typing import Any

FORMAT = 2
KEY_DIGITS = 12
IDENTITY = ("format", "kind", "version", "params", "inputs")  # the parts of an identity
NO_MEANING = ("annotation", "returns", "type_comment", "type_params", "ctx", "kind")  # fields of syntax nodes


def canonical_json(value: Any) -> str:
    """The canonical JSON of `value`; TypeError for a value without an exact form in JSON."""
    _check(value, "$")
    options: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return json.dumps(value, default=dict, **options)  # dict: of other mappings


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


def json_digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def identity(kind: str, version: int, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a stage. `inputs` maps an edge's name to the key, or list of keys, of the stages that it reads."""
    return {"format": FORMAT, "kind": kind, "version": version, "params": dict(params), "inputs": dict(inputs)}


def stage_key(ident: Mapping[str, Any]) -> str:
    """The 12 hex digits that identify a stage."""
    return json_digest(ident)[:KEY_DIGITS]


def ast_hash(path: Path) -> str:
    """12 hex digits for the computation in a Python file; the same under every Python version.

    Raises:
        SyntaxError: as of `syntax_tree`.
    """
    return _hash_of(path.read_bytes(), str(path))


def syntax_tree(source: bytes, path: str) -> ast.Module:
    """The syntax tree of a Python file with these bytes.

    Raises:
        SyntaxError: they are no Python, or not in the encoding that they state. It has the file's name.
    """
    try:
        return ast.parse(decode_source(source), filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # another encoding; nested too deeply
        if isinstance(error, SyntaxError) and error.filename:
            raise
        raise SyntaxError(f"this is no Python ({error or 'nested too deeply'})", (path, None, None, None)) from error


@lru_cache(maxsize=256)  # a sweep asks for the same files hundreds of times
def _hash_of(source: bytes, path: str) -> str:
    return json_digest(_meaning(syntax_tree(source, path)))[:KEY_DIGITS]


def _meaning(node: Any) -> Any:
    """A syntax tree as JSON, without docstrings, imports and annotations; None for a statement without further parts."""
    if isinstance(node, list):
        every = ["none" if item is None else _meaning(item) for item in node]  # in kw_defaults, None means: no default
        return [item for item in every if item is not None]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return None
    if isinstance(node, ast.AnnAssign):
        if node.value is None:
            return None
        node = ast.Assign([node.target], node.value)
    fields = {
        name: _meaning(_without_docstring(node) if name == "body" else value)
        for name, value in ast.iter_fields(node)
        if name not in NO_MEANING and value is not None and value != []
    }
    if isinstance(node, ast.Constant):
        fields["value"] = repr(node.value)
    if isinstance(node, ast.If) and not fields["body"] and not fields.get("orelse"):  # `if TYPE_CHECKING:`
        return None
    return [type(node).__name__, {name: value for name, value in fields.items() if value != []}]


def _without_docstring(node: Any) -> Any:
    """The body of a node without its docstring."""
    documented = isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return node.body[1:] if documented and ast.get_docstring(node, clean=False) is not None else node.body
