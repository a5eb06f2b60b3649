"""`w2s gc`: the folders that can be removed. By default it lists them with their sizes; it removes them only with --yes.

* Candidates are stages in the plan of no run or sweep, stages and runs by an older w2s, unfinished work older than --days without a claim,
  and old results of stages that ran again.
* Token rows that no stage has used for --days are candidates too; a stage that needs them makes them again.
* A stage in the plan of any run stays; remove the run first, or use `w2s rm`. A run whose plan cannot be read may have any stage, so every
  stage stays until that run is removed or run again.
* Temporary files older than --days of processes that were killed, and the names of owners that claim nothing any more.
* Files of a batch system's jobs that are over for --days: what they printed, if one of them failed.
* What a running command holds, and what is a link, stays.
"""

import math
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from w2s_cli.commands.options import file_size, parse, parser, store_of
from w2s_cli.commands.output import guarded
from w2s_cli.errors import UserError
from w2s_cli.results.planned import planned_keys
from w2s_cli.results.reader import Run
from w2s_cli.results.runs import run_folders
from w2s_cli.results.text_table import print_table
from w2s_cli.run.queueing import job_states
from w2s_cli.store.claims import OWNER, claim, is_claimed
from w2s_cli.store.files import files_size
from w2s_cli.store.holds import Hold, holds, removing
from w2s_cli.store.places import StoreError, closed_folders, command_line, lies_in
from w2s_cli.store.publishing import remove_stage
from w2s_cli.store.queued import QUEUE, queued
from w2s_cli.store.store import Store, is_older

DAYS = 7.0  # after which unfinished work is stale
WRITTEN_S = 3600.0  # a temporary file that is younger may be one that is being written
TEMPORARY = (
    *(".cache/.*.tmp", ".cache/tokens/.*.tmp", ".queue/.*.tmp"),
    *("runs/*/*/.*.tmp", "sweeps/*/*/.*.tmp", "stages/*/*/.*.tmp"),
)
LEFT_BEHIND = (*TEMPORARY, f"stages/*/*/{OWNER}")

Plans = dict[Path, set[str] | None]  # run → keys of its plan; None: the plan cannot be read


@guarded(needed=False)  # a removal is not broken off where nobody reads of it
def run(argv: list[str]) -> int:
    """List the candidates, and remove them with --yes."""
    arg_parser = parser(
        "gc",
        "List folders that no run needs any more: stages outside every run, stale work, old results. Removes them only with --yes.",
    )
    arg_parser.add_argument("--yes", action="store_true", help="remove the listed folders")
    arg_parser.add_argument(
        "--days", type=float, default=DAYS, help=f"unfinished work is stale after so many days (default: {DAYS:g})"
    )
    options = parse(arg_parser, argv)
    if not 0 <= options.days < math.inf:
        raise UserError(f"--days {options.days:g}: must be a finite number of days from 0 up.")
    store = store_of(options)
    job_states(store)  # a stage whose job is over is held no more
    with removing(store.root) if options.yes else nullcontext():  # no command begins between the list and the removal
        return _collect(store, options.days, yes=options.yes)


def _collect(store: Store, days: float, *, yes: bool) -> int:
    plans: Plans = {folder: planned_keys(folder) for folder in run_folders(store.root)}
    plans |= dict.fromkeys(closed_folders(store.root))
    held = holds(store.root)
    _explain_kept(store, plans, held)
    listed = [one for one in candidates(store, plans, held, days) if lies_in(one[0], store.root)]
    if not listed:
        print(f"{store.root}: nothing to remove.")
        return 0
    sizes = {path: files_size(path) for path, _ in listed}
    print_table(
        [
            ["what", "size", "why"],
            *([str(path.relative_to(store.root)), file_size(sizes[path]), why] for path, why in listed),
        ]
    )
    if not yes:
        again = [] if days == DAYS else ["--days", f"{days:g}"]
        removal = command_line(store.root, "gc", *again, "--yes")
        print(f"{_counted(list(sizes.values()))}. Nothing was removed; {removal} removes them.")
        return 0
    removed = [sizes[path] for path, _ in listed if remove(path, store)]
    print(f"removed {_counted(removed)}")
    return 0


def _counted(sizes: list[int]) -> str:
    return f"{file_size(sum(sizes))} in {len(sizes)} folder{'' if len(sizes) == 1 else 's'}"


def _explain_kept(store: Store, plans: Plans, held: list[Hold]) -> None:
    """Say which runs and commands keep stages that would be candidates without them."""
    for folder in [folder for folder, keys in plans.items() if keys is None]:
        name = folder.relative_to(store.root)
        print(
            f"{name}: its plan cannot be read, so every stage stays: run its command again, or remove the run: "
            f"{command_line(store.root, 'rm', str(name))}",
            file=sys.stderr,
        )
    for hold in held:
        print(f"a running command keeps its stages: {hold}", file=sys.stderr)


def candidates(store: Store, plans: Plans, held: list[Hold], days: float) -> Iterator[tuple[Path, str]]:
    """(folder, reason) of every candidate for removal."""
    for folder in plans:
        if Run(folder, store).older and not any(hold.run == folder for hold in held):
            yield folder, "made by an older w2s"
    readable = [keys for keys in plans.values() if keys is not None]
    whole = [folder for folder in plans if Run(folder, store).older]
    if len(readable) == len(plans):
        for path, why in _stages(store, set().union(*readable), held, days):
            whole.append(path)
            yield path, why
    for pattern in LEFT_BEHIND:
        for path in sorted(store.root.glob(pattern)):
            if not any(path.is_relative_to(one) for one in whole) and _is_left(path, days):
                yield path, "left behind by a process that was killed"
    logs = {Path(job["log"]).parent for job in queued(store.root).values()}
    for entry in sorted((store.root / QUEUE).glob("*/")):
        if entry not in logs and _age_s(entry) > days * 86400:
            yield entry, "files of jobs that are over"
    for entry in sorted(tokens_folder(store).glob("*")):
        if entry.is_dir() and entry.suffix != ".tmp" and _age_s(entry) > days * 86400:
            yield entry, f"token rows, not used for {days:g} days"


def _stages(store: Store, planned: set[str], held: list[Hold], days: float) -> Iterator[tuple[Path, str]]:
    """The candidates among the stages and their parts."""
    for key, folder in sorted(store.folders().items()):
        if any(hold.has(key) for hold in held):
            continue
        if key not in planned or is_older(folder):
            yield folder, "made by an older w2s" if is_older(folder) else "in the plan of no run"
            continue
        work = folder / "work"
        if work.is_dir() and _age_s(work) > days * 86400:
            yield work, f"unfinished for more than {days:g} days"
        if (folder / "old").is_dir():
            yield folder / "old", "old results of a stage that ran again"


def _is_left(path: Path, days: float) -> bool:
    """Whether a temporary file is older than `days`, or an owner's name stands at a stage that nobody has claimed."""
    if path.name == OWNER:
        return not is_claimed(path.parent)
    return _age_s(path) > max(days * 86400, WRITTEN_S)


def _age_s(path: Path) -> float:
    """Seconds since the last change; 0 of what has just gone, because its process renamed or removed it."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def tokens_folder(store: Store) -> Path:
    """The folder of token rows that stages share (`training.token_cache`)."""
    return store.cache / "tokens"


def remove(path: Path, store: Store) -> bool:
    """Remove one candidate; False if its stage is claimed, has a link in it, or belongs to another user."""
    try:
        if not path.is_relative_to(store.stages):
            _remove(store.own(path))
            return True
        folder = path if path.parent.parent == store.stages else path.parent
        with claim(folder) as claimed:
            if claimed and path == folder:
                remove_stage(folder)
            elif claimed:
                _remove(path)
            return claimed
    except (StoreError, OSError) as error:  # an OSError: a file of another user; the others are removed
        print(f"{path.relative_to(store.root)} stays: {error}", file=sys.stderr)
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
