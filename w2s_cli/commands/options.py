"""The common parts of commands that read the outputs folder: their options, the store, and a stage by the beginning of its key."""

import argparse
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.results.runs import LATEST
from w2s_cli.store.files import read_json
from w2s_cli.store.store import Store

RUN = f"its path, the beginning of its <date>/<time>-<slug>, of its time or of its digest, or {LATEST}"


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserError."""

    def error(self, message: str) -> Any:
        raise UserError(f"{message}. See: {self.prog} --help")


def parser(command: str, description: str) -> Parser:
    """A parser with the options that all these commands share."""
    arg_parser = Parser(prog=f"w2s {command}", description=description, allow_abbrev=False)
    arg_parser.add_argument("--outputs", default="outputs", metavar="DIR", help="the outputs folder (default: outputs)")
    return arg_parser


def parse(arg_parser: Parser, argv: list[str]) -> argparse.Namespace:
    """Parse `argv`; `outputs=DIR` is accepted as in the Hydra commands."""
    words = [f"--{word}" if word.startswith("outputs=") else word for word in argv]
    return arg_parser.parse_args(words)


def store_of(options: argparse.Namespace) -> Store:
    """The store of --outputs; UserError for a folder without stages."""
    root = locate(options.outputs)
    if not (root / "stages").is_dir():
        raise UserError(f"{root} holds no stages: run w2s train first, or name another folder with outputs=DIR.")
    return Store(root)


def stage_of(store: Store, prefix: str) -> Path:
    """The one stage folder whose key or name begins with `prefix`; UserError for none or several."""
    name = Path(prefix).name
    folders = store.match(prefix) or sorted(p for p in store.folders().values() if p.name.startswith(name))
    if not folders:
        raise UserError(f'no stage has a key or a folder that begins with "{prefix}"; w2s ls lists them.')
    if len(folders) > 1:
        names = ", ".join(path.name for path in folders[:8])
        raise UserError(f'"{prefix}" fits {len(folders)} stages: {names}. Give more digits of the key.')
    return folders[0]


def job_of(folder: Path) -> dict[str, Any]:
    """stage.json of a folder; UserError if it cannot be read."""
    job = read_json(folder / "stage.json")
    if not isinstance(job, dict):
        raise UserError(f"{folder}/stage.json is missing or cut short; w2s rm {folder.name[-12:]} removes the stage.")
    return job


def file_size(count: int) -> str:
    """Bytes for people: '12.3 MB'."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
