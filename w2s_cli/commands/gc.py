"""`w2s gc`: the folders that can be removed. By default it lists them with their sizes; it removes them only with --yes.

* Candidates are stages in the plan of no run or sweep, stages and runs by an older w2s, unfinished work older than --days without a claim,
  and old results of stages that ran again.
* Token rows that no stage has used for --days are candidates too; a stage that needs them makes them again.
* A stage in the plan of any run stays; remove the run's folder first, or use `w2s rm`.
"""

import shutil
import time
from pathlib import Path

from w2s_cli.commands.options import file_size, parse, parser, store_of
from w2s_cli.commands.output import guarded
from w2s_cli.results.reader import Run, planned_keys
from w2s_cli.results.runs import run_folders
from w2s_cli.results.text_table import print_table
from w2s_cli.store.claims import claim
from w2s_cli.store.files import files_size
from w2s_cli.store.store import Store, is_older


@guarded(needed=False)  # a removal is not broken off where nobody reads of it
def run(argv: list[str]) -> int:
    """List the candidates, and remove them with --yes."""
    arg_parser = parser(
        "gc",
        "List folders that no run needs any more: stages outside every run, stale work, old results. Removes them only with --yes.",
    )
    arg_parser.add_argument("--yes", action="store_true", help="remove the listed folders")
    arg_parser.add_argument(
        "--days", type=float, default=7.0, help="unfinished work is stale after so many days (default: 7)"
    )
    options = parse(arg_parser, argv)
    store = store_of(options)
    listed = candidates(store, options.days)
    if not listed:
        print(f"{store.root}: nothing to remove.")
        return 0
    total = sum(files_size(path) for path, _ in listed)
    counted = f"{len(listed)} folder{'s' if len(listed) > 1 else ''}"
    print_table(
        [
            ["what", "size", "why"],
            *([str(path.relative_to(store.root)), file_size(files_size(path)), why] for path, why in listed),
        ]
    )
    if not options.yes:
        print(f"{file_size(total)} in {counted}. Nothing was removed; w2s gc --yes removes them.")
        return 0
    for path, _ in listed:
        remove(path, store)
    print(f"removed {file_size(total)} in {counted}")
    return 0


def candidates(store: Store, days: float) -> list[tuple[Path, str]]:
    """(folder, reason) of every candidate for removal."""
    runs = run_folders(store.root)
    planned = set().union(*planned_keys(runs))
    listed = [(folder, "made by an older w2s") for folder in runs if Run(folder, store).older]
    for key, folder in sorted(store.folders().items()):
        if key not in planned or is_older(folder):
            listed.append((folder, "made by an older w2s" if is_older(folder) else "in the plan of no run"))
            continue
        work = folder / "work"
        if work.is_dir() and time.time() - work.stat().st_mtime > days * 86400:
            listed.append((work, f"unfinished for more than {days:g} days"))
        if (folder / "old").is_dir():
            listed.append((folder / "old", "old results of a stage that ran again"))
    for entry in sorted(tokens_folder(store).glob("*")):
        if time.time() - entry.stat().st_mtime > days * 86400:
            listed.append((entry, f"token rows, not used for {days:g} days"))
    return listed


def tokens_folder(store: Store) -> Path:
    """The folder of token rows that stages share (`training.token_cache`)."""
    return store.cache / "tokens"


def remove(path: Path, store: Store) -> None:
    """Remove one candidate unless its stage is in use."""
    if not path.is_relative_to(store.stages):
        shutil.rmtree(path)
        return
    folder = path if path.parent.parent == store.stages else path.parent
    with claim(folder) as claimed:
        if claimed:
            if path == folder:
                (folder / "record.json").unlink(missing_ok=True)
            shutil.rmtree(path)
