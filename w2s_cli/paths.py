"""Paths of the files in the package. w2s_cli/configs is a link to configs/ in a checkout, and a folder in the wheel."""

import os
from pathlib import Path

from w2s_cli.errors import UserError, did_you_mean

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


def corpus_files(path: Path) -> list[Path]:
    """The files of a corpus: the file itself, or the text files of a folder in order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(
        file for file in path.iterdir() if file.name.removesuffix(".gz").endswith((".jsonl", ".json", ".txt"))
    )
