"""`w2s logs [KEY-PREFIX] [-f]`: the log of a stage; without a key, the log written last."""

import time
from pathlib import Path

from w2s_cli.commands.options import parse, parser, stage_of, store_of
from w2s_cli.errors import UserError
from w2s_cli.store.claims import is_claimed


def run(argv: list[str]) -> int:
    """Print a log; with -f, follow it while a process has claimed the stage."""
    arg_parser = parser("logs", "Print the log of a stage (default: the log written last).")
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
        log = max(logs, key=lambda path: path.stat().st_mtime)
    if not log.exists():
        raise UserError(f"{log.parent.name} has no log yet.")
    print(f"{log.parent.name}:")
    _print(log, follow=options.follow)
    return 0


def _print(log: Path, *, follow: bool) -> None:
    with log.open(encoding="utf-8", errors="replace") as file:
        print(file.read(), end="", flush=True)
        while follow and is_claimed(log.parent):
            time.sleep(0.3)
            print(file.read(), end="", flush=True)
        print(file.read(), end="", flush=True)
