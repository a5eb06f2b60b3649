"""`w2s rm NAME…`: the removal of stages and runs.

* Stages made from a removed stage stay, with `missing` inputs. The stages of a removed run stay too; `w2s gc` lists them if no other run
  has them.
* A run is removed only by its path or whole name: the beginnings of names are for stages, whose keys look like a run's time or digest.
* What a process has claimed, or a running command holds, stays.
"""

import os
import shutil
from pathlib import Path

from w2s_cli.commands.options import file_size, parse, parser, runs_called, stage_of, store_of
from w2s_cli.commands.output import guarded
from w2s_cli.errors import UserError
from w2s_cli.results.planned import planned_keys
from w2s_cli.results.runs import run_folders, whole_run
from w2s_cli.run.queueing import job_states
from w2s_cli.store.claims import claim, owner
from w2s_cli.store.files import files_size
from w2s_cli.store.holds import holder, holds, removing
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.places import command_line
from w2s_cli.store.publishing import prune_weights, remove_stage
from w2s_cli.store.store import Store


@guarded(needed=False)  # a removal is not broken off where nobody reads of it
def run(argv: list[str]) -> int:
    """Remove the named stages and runs; with --weights only the weights of the stages."""
    arg_parser = parser("rm", "Remove stages or runs from the outputs folder.")
    arg_parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a stage, by the beginning of its key; or a run, by its path or whole name",
    )
    arg_parser.add_argument("--weights", action="store_true", help="remove only the weights; labels and metrics stay")
    options = parse(arg_parser, argv)
    store = store_of(options)
    job_states(store)  # a stage whose job is over is held no more
    runs = {name: whole_run(store.root, name) for name in options.names}
    folders = [runs[name] or _stage(store, name) for name in options.names]
    plans = [planned_keys(folder) or set() for folder in run_folders(store.root)]
    for folder in dict.fromkeys(folders):
        if folder in runs.values():
            _remove_run(folder, store, weights=options.weights)
        else:
            _remove_stage(folder, store, plans, weights=options.weights)
    return 0


def _stage(store: Store, name: str) -> Path:
    """The stage `name`.

    Raises:
        UserError: no such stage; if the name is a run's, but neither its path nor whole, with the command that removes the run.
    """
    try:
        return stage_of(store, name)
    except UserError:
        runs = runs_called(store, name)
        if len(runs) != 1 or os.sep in name:
            raise
        whole = command_line(store.root, "rm", os.path.relpath(runs[0]))
        raise UserError(f'"{name}" is a run, which is removed by its path or whole name only: {whole}.') from None


def _remove_run(folder: Path, store: Store, *, weights: bool) -> None:
    name = f"{folder.parent.name}/{folder.name}"
    if weights:
        raise UserError(f"{name} is a run, and weights belong to stages: name the stages whose weights are to go.")
    with removing(store.root):
        for hold in holds(store.root):
            if hold.run == folder:
                raise UserError(f"{name} is in use by {hold.process}; stop that process first.")
        shutil.rmtree(store.own(folder))
    print(f"removed {name}; its stages stay, and {command_line(store.root, 'gc')} lists those that no other run has")


def _remove_stage(folder: Path, store: Store, plans: list[set[str]], *, weights: bool) -> None:
    key = folder.name[-KEY_DIGITS:]
    with claim(folder) as claimed, removing(store.root):
        if not claimed:
            raise UserError(f"{folder.name} is in use by {owner(folder)}; stop that process first.")
        held = holder(store.root, key)
        if held:
            raise UserError(
                f"{folder.name} is planned by a running command, {held}; wait for its end, or stop it first."
            )
        if weights:
            freed = prune_weights(folder)
        else:
            freed = files_size(folder)
            remove_stage(folder)
    users = sum(key in keys for keys in plans)
    note = f"; {users} run{'s' if users > 1 else ''} had it" if users and not weights else ""
    print(f"removed {'the weights of ' if weights else ''}{folder.name} ({file_size(freed)}){note}")
