"""What the commands that only read records share: finding the outputs folder, a stage by key prefix, and sizes for people."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.store.files import read_json
from w2s_cli.store.store import Store


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours."""

    def error(self, message: str) -> Any:
        raise UserError(f"{message}. See: {self.prog} --help")


def parser(command: str, description: str) -> Parser:
    """A parser with the options that all record commands have."""
    made = Parser(prog=f"w2s {command}", description=description, allow_abbrev=False)
    made.add_argument("--outputs", default="outputs", metavar="DIR", help="the outputs folder (default: outputs)")
    return made


def parse(made: Parser, argv: list[str]) -> argparse.Namespace:
    """Parse; `outputs=DIR` is understood as in the Hydra commands."""
    words = [f"--{word}" if word.startswith("outputs=") else word for word in argv]
    return made.parse_args(words)


def store_of(options: argparse.Namespace) -> Store:
    """The store of --outputs; UserError if there is none."""
    root = locate(options.outputs)
    if not (root / "stages").is_dir():
        raise UserError(f"{root} holds no stages: run w2s train first, or name another folder with outputs=DIR.")
    return Store(root)


def stage_of(store: Store, prefix: str) -> Path:
    """The one stage folder whose key begins with `prefix`, or whose folder's name does."""
    name = Path(prefix).name
    found = store.match(prefix) or sorted(p for p in store.folders().values() if p.name.startswith(name))
    if not found:
        raise UserError(f'no stage has a key or a folder that begins with "{prefix}"; w2s ls lists them.')
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise UserError(f'"{prefix}" fits {len(found)} stages: {names}. Give more digits of the key.')
    return found[0]


def job_of(folder: Path) -> dict[str, Any]:
    """stage.json of a folder; UserError if it cannot be read."""
    job = read_json(folder / "stage.json")
    if not isinstance(job, dict):
        raise UserError(f"{folder}/stage.json is missing or cut short; w2s rm {folder.name[-12:]} removes the stage.")
    return job


def input_keys(job: dict[str, Any]) -> list[tuple[str, str]]:
    """(edge, key) of all inputs of a stage."""
    return [
        (edge, key) for edge, value in job["inputs"].items() for key in (value if isinstance(value, list) else [value])
    ]


def planned_keys(store: Store) -> list[set[str]]:
    """The stage keys that each run and sweep names."""
    plans = [read_json(path) or [] for kind in ("runs", "sweeps") for path in (store.root / kind).glob("*/*/plan.json")]
    return [{entry["key"] for entry in plan} for plan in plans]


def runs_of(store: Store, key: str) -> list[Path]:
    """The run and sweep folders whose plan names a stage: where its configuration stands."""
    plans = [path for kind in ("runs", "sweeps") for path in sorted((store.root / kind).glob("*/*/plan.json"))]
    return [path.parent for path in plans if f'"{key}"' in path.read_text(encoding="utf-8")]


def files_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in walk(folder))


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder; links are not followed."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def size(count: int) -> str:
    """Bytes for people: '12.3 MB'."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
