"""`w2s status`: the latest run or sweep, stage by stage, read from files; it may be running in another terminal or on another machine."""

import os

from w2s_cli.errors import UserError
from w2s_cli.results.records import parse, parser, store_of
from w2s_cli.results.text_table import print_table
from w2s_cli.store.files import read_json
from w2s_cli.store.store import folder_state


def run(argv: list[str]) -> int:
    """Print the states of the stages of one run."""
    made = parser("status", "Show how far a run is (default: the latest).")
    made.add_argument(
        "run", nargs="?", metavar="RUN", help="a folder of outputs/runs or outputs/sweeps, or a part of its name"
    )
    options = parse(made, argv)
    store = store_of(options)
    runs = sorted(
        (p for kind in ("runs", "sweeps") for p in (store.root / kind).glob("*/*") if (p / "plan.json").exists()),
        key=lambda p: p.stat().st_mtime,
    )
    if options.run:
        runs = [path for path in runs if options.run.rstrip("/") in str(path)]
    if not runs:
        raise UserError(
            f"{store.root}: no run {options.run or 'yet'}; a run is named by a part of its folder under runs/ or sweeps/."
        )
    folder = runs[-1]
    rows, counts = [["stage", "kind", "key", "state", ""]], dict[str, int]()
    for entry in read_json(folder / "plan.json") or []:
        stage = store.folder(entry["key"])
        state = folder_state(stage, verify=False) if stage else None
        word = state.word if state else "missing"
        counts[word] = counts.get(word, 0) + 1
        detail = state.detail if state else ""
        if state and state.word == "done" and "wall_s" in state.record:
            detail = f"{state.record['wall_s']:.1f} s"
        rows.append([entry["name"], entry["kind"], entry["key"], word, detail])
    print_table(
        rows, title=os.path.relpath(folder), notes=[", ".join(f"{count} {word}" for word, count in counts.items())]
    )
    return 0
