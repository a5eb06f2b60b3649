"""Plug-in code by name: losses, rules and transforms are files `<kind>/<name>.py`, in the user's folders first, then in the package.

* `kind` is a folder of the package: losses, combining, selection, data/transforms. No list of its files is kept.
* A name is a Python identifier, so it cannot point outside the folder. Files with a leading underscore are not for users.
* The search for a file does not import it: planning reads names, arguments and hashes from syntax trees, and needs no torch.
"""

import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from w2s_cli.errors import UserError, did_you_mean, of_user_code
from w2s_cli.paths import PACKAGE
from w2s_cli.store.keys import ast_hash


def find_code(kind: str, name: str, folders: Sequence[Path | str] = ()) -> Path:
    """The file `<folder>/<kind>/<name>.py` of the first of `folders` with such a file, else of the package.

    Raises:
        UserError: no such file, or `name` is no identifier.
    """
    if name.isidentifier() and not name.startswith("_"):
        for place in _places(kind, folders):
            if (place / f"{name}.py").is_file():
                return place / f"{name}.py"
    hint = did_you_mean(name, code_names(kind, folders))
    raise UserError(f'there is no "{name}" in {kind}/ of the package or of a --config-dir folder.{hint}')


def code_names(kind: str, folders: Sequence[Path | str] = ()) -> list[str]:
    """The names of all files of a kind of code."""
    files = [file for place in _places(kind, folders) for file in place.glob("*.py")]
    return sorted({file.stem for file in files if not file.stem.startswith("_")})


def _places(kind: str, folders: Sequence[Path | str]) -> list[Path]:
    return [Path(folder) / kind for folder in (*folders, PACKAGE)]


def load_code(
    kind: str, name: str, folders: Sequence[Path | str] = (), *, planned: str | None = None
) -> tuple[ModuleType, Path]:
    """The imported module of the file `name`, and the file's path.

    Args:
        planned: hash of the code in the plan; None: any code.

    Raises:
        UserError: no such file, an edit since the plan, or a failing import.
    """
    path = find_code(kind, name, folders)
    if planned is not None and ast_hash(path) != planned:
        raise UserError(f"{path} was edited after this run was planned; run the command again.")
    spec = importlib.util.spec_from_file_location(f"w2s_cli.{kind.replace('/', '.')}.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # users' files raise any error, KeyboardInterrupt and SystemExit too
        raise of_user_code(f"the import of {path}", error, str(path)) from error
    return module, path


def function_of(module: ModuleType, path: Path, takes: str) -> Callable[..., Any]:
    """The function with its file's name. `takes`: its arguments, for the message.

    Raises:
        UserError: no such function in the file.
    """
    function: Callable[..., Any] | None = getattr(module, path.stem, None)
    if not callable(function):
        raise UserError(f"{path} defines no function {path.stem}({takes})")
    return function


def call_code(
    called: str,
    function: Callable[..., Any],
    *values: Any,
    args: Mapping[str, Any],
    passing: Callable[[Exception], bool] = lambda error: False,
) -> Any:
    """`function(*values, **args)` of plug-in code; `called` is its name in messages; errors that are `passing` are raised unchanged.

    Raises:
        UserError: unknown arguments, or an error inside the function.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*values, **args)
    except TypeError as error:
        raise UserError(f"{called}: {error}; it takes {signature}") from error
    try:
        return function(*values, **args)
    except UserError:
        raise
    except BaseException as error:  # users' files raise any error, KeyboardInterrupt and SystemExit too
        if isinstance(error, Exception) and passing(error):
            raise
        raise of_user_code(called, error, inspect.getsourcefile(function)) from error
