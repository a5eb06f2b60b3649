"""`w2s plot [RUN]`: the figure of a run: weak supervisor, strong student and ceiling with their intervals."""

import os

from w2s_cli.commands.records import parse, parser, store_of
from w2s_cli.errors import UserError
from w2s_cli.show_results import title
from w2s_cli.store.files import read_json


def run(argv: list[str]) -> int:
    """Draw the latest run, or the named one."""
    made = parser(
        "plot", "Draw weak supervisor, student and ceiling of a run (default: the latest) with 95 % intervals."
    )
    made.add_argument(
        "run", nargs="?", metavar="RUN", help="a folder of outputs/runs or outputs/sweeps, or a part of its name"
    )
    made.add_argument("--to", metavar="FILE", help="png, svg or pdf (default: figure.png in the run's folder)")
    options = parse(made, argv)
    store = store_of(options)
    found = sorted(
        (path for kind in ("runs", "sweeps") for path in (store.root / kind).glob("*/*/results.json")),
        key=lambda path: path.stat().st_mtime,
    )
    if options.run:
        found = [path for path in found if options.run.rstrip("/") in str(path.parent)]
    found = [path for path in found if read_json(path)]
    if not found:
        raise UserError(f"{store.root}: no finished run {options.run or 'yet'}; w2s train makes one.")
    entries = read_json(found[-1])
    summaries = [entry for entry in entries if entry["stage"] == "summary"]
    chosen = summaries or entries
    from w2s_cli.folders import locate
    from w2s_cli.plots import plot_run

    path = locate(options.to) if options.to else found[-1].parent / "figure.png"
    named = {
        f"{e['loss']}" if len({e["loss"] for e in chosen}) == len(chosen) else title(e): e["metrics"] for e in chosen
    }
    plot_run(named, path, title(chosen[0]) if len(chosen) == 1 else "")
    print(os.path.relpath(path))
    return 0
