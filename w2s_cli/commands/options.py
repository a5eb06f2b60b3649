"""The common parts of commands that read the outputs folder: their options, the store, and a stage by the beginning of its key."""

import argparse
import os
from pathlib import Path
from typing import Any

from w2s_cli.commands import COMMANDS
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import locate
from w2s_cli.results.runs import LATEST, find_runs
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.places import OUTPUTS, check_name, command_line
from w2s_cli.store.shapes import read_own_job
from w2s_cli.store.store import Store

SHOWN = 8  # stages that a message lists
RUN = f"its path, the beginning of its <date>/<time>-<slug>, of its time or of its digest, or {LATEST}"


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserError."""

    def error(self, message: str) -> Any:
        _, _, missing = message.partition("arguments are required: ")
        if missing:  # argparse also names those that may be left out
            free = {one.metavar for one in self._actions if one.nargs in ("*", "?")}
            names = [name for name in missing.split(", ") if name not in free]
            raise UserError(f"{self.prog} needs {' and '.join(names)}. See: {self.prog} --help")
        name, sign, words = message.partition("unrecognized arguments: ")
        option = words.split(" ")[0].partition("=")[0]
        options = [one for one in self._option_string_actions if one.startswith("--")]
        hint = did_you_mean(option, options) if sign and not name and option.startswith("-") else ""
        raise UserError(f"{message}.{hint} See: {self.prog} --help")


def parser(command: str, description: str) -> Parser:
    """A parser with the options that all these commands share."""
    arg_parser = Parser(
        prog=f"w2s {command}",
        description=description,
        allow_abbrev=False,
        epilog=f"example: w2s {command} {COMMANDS[command].example}",
    )
    arg_parser.add_argument(
        "--outputs", default=OUTPUTS, metavar="DIR", help=f"the outputs folder (default: {OUTPUTS})"
    )
    return arg_parser


def parse(arg_parser: Parser, argv: list[str]) -> argparse.Namespace:
    """Parse `argv`; `outputs=DIR` is accepted as in the Hydra commands."""
    words = [f"--{word}" if word.startswith("outputs=") else word for word in argv]
    return arg_parser.parse_intermixed_args(words)


def store_of(options: argparse.Namespace) -> Store:
    """The store of --outputs; UserError for a folder without stages."""
    root = locate(options.outputs)
    if not (root / "stages").is_dir():
        raise UserError(f"{root} holds no stages: run w2s train first, or name another folder with outputs=DIR.")
    return Store(root)


def stage_of(store: Store, named: str) -> Path:
    """The one stage folder with the path `named`, or whose key or name begins with `named`.

    A path is of this folder or of the outputs folder. It names a stage only by its whole name, and only in this store.

    Raises:
        StoreError: `named` is no name.
        UserError: no such stage, or several.
    """
    if os.sep in named and Path(named).name:
        places = {os.path.realpath(base / os.path.expanduser(named)) for base in (Path.cwd(), store.root)}
        folders = [folder for folder in store.folders().values() if os.path.realpath(folder) in places]
        if not folders:
            raise UserError(
                f"{named} is no stage of {store.root}; {command_line(store.root, 'ls')} lists them, "
                "and outputs=DIR names another outputs folder."
            )
    else:
        check_name(named, "a stage is named by the beginning of its key or folder:")
        folders = store.match(named) or sorted(p for p in store.folders().values() if p.name.startswith(named))
    if not folders:
        runs = runs_called(store, named)
        raise UserError(
            f'"{named}" is a run, {runs[0].name}, and not a stage: '
            f"{command_line(store.root, 'status', named)} lists the stages of a run with their keys."
            if len(runs) == 1
            else f'no stage has a key or a folder that begins with "{named}"; {command_line(store.root, "ls")} lists them.'
        )
    if len(folders) > 1:
        names = ", ".join(path.name for path in folders[:SHOWN]) + (", …" if len(folders) > SHOWN else "")
        raise UserError(f'"{named}" fits {len(folders)} stages: {names}. Give more digits of the key.')
    return folders[0]


def runs_called(store: Store, named: str) -> list[Path]:
    """The runs with a name; [] without one."""
    try:
        return find_runs(store.root, named)
    except UserError:
        return []


def job_of(folder: Path) -> dict[str, Any]:
    """stage.json of a folder; UserError if it cannot be read, or is not of the stage that the folder's key names."""
    job = read_own_job(folder)
    if job is None:
        raise UserError(
            f"{folder}/stage.json is missing, unreadable or edited; "
            f"{command_line(folder.parents[2], 'rm', folder.name[-KEY_DIGITS:])} removes the stage."
        )
    return job


def file_size(count: int) -> str:
    """Bytes for people: '12.3 MB'."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
