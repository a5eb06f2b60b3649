"""`w2s gc`: what can go. Dry by default: it lists and adds up, and removes only with --yes.

* What no run or sweep folder names, stages and runs that an older w2s made, unfinished work that nobody holds and that is older than
  --days, and old results of redone stages.
* Token rows that no stage has used for as long; a stage that needs them makes them again.
* A stage that any run names stays; remove the run's folder first, or use `w2s rm`.
"""

import shutil
import time
from pathlib import Path

from w2s_cli.commands.options import file_size, parse, parser, store_of
from w2s_cli.results.reader import Run, planned_keys
from w2s_cli.results.runs import run_folders
from w2s_cli.results.text_table import print_table
from w2s_cli.store.claims import claim
from w2s_cli.store.files import files_size
from w2s_cli.store.store import Store, is_older


def run(argv: list[str]) -> int:
    """List what can be removed, and remove it with --yes."""
    made = parser(
        "gc", "Find what no run needs any more: stages outside every run, stale work, old results. Dry by default."
    )
    made.add_argument("--yes", action="store_true", help="remove what is listed")
    made.add_argument(
        "--days", type=float, default=7.0, help="unfinished work is stale after so many days (default: 7)"
    )
    options = parse(made, argv)
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
    """(folder, reason) of everything that can go."""
    runs = run_folders(store.root)
    named = set().union(*planned_keys(runs))
    listed = [(folder, "made by an older w2s") for folder in runs if Run(folder, store).older]
    for key, folder in sorted(store.folders().items()):
        if key not in named or is_older(folder):
            listed.append((folder, "made by an older w2s" if is_older(folder) else "no run names it"))
            continue
        work = folder / "work"
        if work.is_dir() and time.time() - work.stat().st_mtime > days * 86400:
            listed.append((work, f"unfinished for more than {days:g} days"))
        if (folder / "old").is_dir():
            listed.append((folder / "old", "results that were made again"))
    for entry in sorted(tokens_folder(store).glob("*")):
        if time.time() - entry.stat().st_mtime > days * 86400:
            listed.append((entry, f"token rows, not used for {days:g} days"))
    return listed


def tokens_folder(store: Store) -> Path:
    """Where stages share token rows (`training.token_cache`)."""
    return store.cache / "tokens"


def remove(path: Path, store: Store) -> None:
    """Remove one candidate unless its stage is in use."""
    if not path.is_relative_to(store.stages):
        shutil.rmtree(path)
        return
    folder = path if path.parent.parent == store.stages else path.parent
    with claim(folder) as mine:
        if mine:
            if path == folder:
                (folder / "record.json").unlink(missing_ok=True)
            shutil.rmtree(path)
