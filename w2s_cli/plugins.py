"""Losses, rules and transforms by name: `<kind>/<name>.py`, in the user's folders first, then in the package.

* `kind` is a folder of the package: losses, combining, selection, data/transforms. There is no list of what it holds.
* A name is a plain Python name, so that it cannot lead out of the folder. Files whose names begin with an underscore are not for users.
* Finding a file does not import it: planning reads names, arguments and hashes from syntax trees, and needs no torch.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import PACKAGE
from w2s_cli.store.keys import ast_hash


def find_code(kind: str, name: str, folders: Sequence[Path | str] = ()) -> Path:
    """The file `<folder>/<kind>/<name>.py` of the first of `folders` that has one, else of the package.

    Raises:
        UserError: there is none, or `name` is no plain name.
    """
    if name.isidentifier() and not name.startswith("_"):
        for place in _places(kind, folders):
            if (place / f"{name}.py").is_file():
                return place / f"{name}.py"
    hint = did_you_mean(name, code_names(kind, folders))
    raise UserError(f'there is no "{name}" in {kind}/ of the package or of a --config-dir folder.{hint}')


def code_names(kind: str, folders: Sequence[Path | str] = ()) -> list[str]:
    """All names of a kind of code."""
    files = [file for place in _places(kind, folders) for file in place.glob("*.py")]
    return sorted({file.stem for file in files if not file.stem.startswith("_")})


def _places(kind: str, folders: Sequence[Path | str]) -> list[Path]:
    return [Path(folder) / kind for folder in (*folders, PACKAGE)]


def load_code(
    kind: str, name: str, folders: Sequence[Path | str] = (), *, planned: str | None = None
) -> tuple[ModuleType, Path]:
    """The imported file of that name, and where it is.

    Args:
        planned: hash of the code that the run was planned with; None: any code will do.

    Raises:
        UserError: there is no such file, it was edited since, or importing it fails.
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
    except (Exception, SystemExit) as error:  # whatever the user's file does
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module, path


def function_of(module: ModuleType, path: Path, takes: str) -> Callable[..., Any]:
    """The function that has its file's name; `takes` are its arguments, for the message of the UserError if there is none."""
    function: Callable[..., Any] | None = getattr(module, path.stem, None)
    if not callable(function):
        raise UserError(f"{path} defines no function {path.stem}({takes})")
    return function
