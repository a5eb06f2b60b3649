"""Paths of the files in the package. w2s_cli/configs is a link to configs/ in a checkout, and a folder in the wheel."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.store.files import check_yaml, read_yaml

PACKAGE = Path(__file__).parent
BUNDLED = "bundled:"


def configs_folder() -> Path:
    """The folder of the YAML files."""
    return PACKAGE / "configs"


def locate(path: str) -> Path:
    """The absolute path for a user's `path`: "bundled:NAME" ships with w2s, other paths are relative to the launch directory."""
    if not path.startswith(BUNDLED):
        return Path(os.path.expanduser(path)).absolute()  # unlike Path.expanduser, without an error for an unknown user
    root = PACKAGE / "bundled"
    name = path[len(BUNDLED) :]
    resolved = (root / name).resolve()
    if not resolved.is_relative_to(root.resolve()) or not resolved.exists():
        shipped = [p.relative_to(root).as_posix() for p in root.glob("*/*")]
        raise UserError(f'"{path}" does not ship with w2s.{did_you_mean(name, shipped)}')
    return resolved


def read_text(path: Path) -> str:
    """The text of a user's file.

    Raises:
        UserError: the file is not UTF-8.
        OSError: it cannot be read; the message of the command names it.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        byte = f"{error.object[error.start]:#04x}"
        raise UserError(
            f"{path} is not UTF-8 (byte {byte}): convert it, iconv -f latin1 -t utf8 FILE > NEW."
        ) from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping of a user's YAML file.

    Raises:
        UserError: the file is not UTF-8, no YAML, or no mapping.
        OSError: it cannot be read.
    """
    content = _yaml(read_yaml, path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no mapping of names to values.")
    return content


def check_mapping(path: Path) -> None:
    """Refuse a user's YAML file that another reader could not read, or not in any time (UserError)."""
    _yaml(check_yaml, path)


def _yaml(read: Callable[[str], Any], path: Path) -> Any:
    """`read(text)` of the file's text, with errors of YAML as messages."""
    import yaml

    text = read_text(path)
    try:
        return read(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that no calendar has
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error


def corpus_files(path: Path) -> list[Path]:
    """The files of a corpus: the file itself, or the text files of a folder in order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(
        file for file in path.iterdir() if file.name.removesuffix(".gz").endswith((".jsonl", ".json", ".txt"))
    )
