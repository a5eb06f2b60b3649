"""`w2s logs [KEY-PREFIX] [-f]`: the log of a stage; without a key, the one that got its last line most recently.

A stage in a queue has no log yet. A stage of arithmetic may end without a line, so such a log is not shown unless it is asked for.
"""

import time
from pathlib import Path

from w2s_cli.commands.options import parse, parser, stage_of, store_of
from w2s_cli.errors import UserError
from w2s_cli.run.queueing import job_states
from w2s_cli.store.claims import is_claimed
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.queued import read_queued
from w2s_cli.store.store import Store

LOOK_S = 0.3


def run(argv: list[str]) -> int:
    """Print a log; with -f, follow it while a process has claimed the stage."""
    arg_parser = parser("logs", "Print the log of a stage (default: the one with the newest line).")
    arg_parser.add_argument("key", nargs="?", metavar="KEY-PREFIX")
    arg_parser.add_argument("-f", "--follow", action="store_true", help="follow the log until the stage ends")
    options = parse(arg_parser, argv)
    store = store_of(options)
    if options.key is not None:
        log = stage_of(store, options.key) / "log.txt"
    else:
        logs = [path for folder in store.folders().values() if (path := folder / "log.txt").exists()]
        if not logs:
            raise UserError(f"{store.root}: no stage has a log yet.")
        log = max(logs, key=lambda path: (path.stat().st_size > 0, path.stat().st_mtime))
    print(f"{log.parent.name}:")
    if not log.exists():
        _explain(log.parent, store)
    while options.follow and not log.exists() and _goes_on(log.parent, store):
        time.sleep(LOOK_S)
    if log.exists():
        _print(log, store, follow=options.follow)
        if not log.stat().st_size:
            print("the stage wrote no line")
    return 0


def _explain(folder: Path, store: Store) -> None:
    """Say what a stage without a log waits for.

    Raises:
        UserError: for nothing.
    """
    key = folder.name[-KEY_DIGITS:]
    state, job = job_states(store).get(key), read_queued(store.root, key)
    if state is None or job is None:
        raise UserError(f"{folder.name} has no log yet.")
    print(f"it has not begun: {state}. What the job prints: {job['log']}", flush=True)


def _goes_on(folder: Path, store: Store) -> bool:
    """Whether a process has claimed the stage, or a job is going to."""
    return is_claimed(folder) or read_queued(store.root, folder.name[-KEY_DIGITS:]) is not None


def _print(log: Path, store: Store, *, follow: bool) -> None:
    with log.open(encoding="utf-8", errors="replace") as file:
        print(file.read(), end="", flush=True)
        while follow and _goes_on(log.parent, store):
            time.sleep(LOOK_S)
            print(file.read(), end="", flush=True)
        print(file.read(), end="", flush=True)
