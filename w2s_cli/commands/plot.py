"""`w2s plot [RUN]`: the figure of a run: weak supervisor, strong student and ceiling with their intervals.

* The title of a sweep says what its results have in common, the names of the groups say what differs.
"""

import os
from collections.abc import Sequence
from typing import Any

from w2s_cli.commands.records import parse, parser, store_of
from w2s_cli.errors import UserError
from w2s_cli.store.files import read_json

Entry = dict[str, Any]  # of results.json
SETTINGS = ("method", "loss", "train", "seeds")


def run(argv: list[str]) -> int:
    """Draw the latest finished run, or the named one."""
    made = parser(
        "plot",
        "Draw weak supervisor, student and ceiling of a run (default: the latest finished one) with 95 % intervals.",
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
    plot_run(dict(zip(group_names(chosen), (e["metrics"] for e in chosen), strict=True)), path, heading(chosen))
    print(f"figure of {os.path.relpath(found[-1].parent)}:")
    print(os.path.relpath(path))
    return 0


def heading(entries: Sequence[Entry]) -> str:
    """What the entries have in common: 'wordnet-xs → wordnet-l on wordnet_living (naive, seeds 0, 1)'."""
    shared = {field: _common(entries, field) for field in ("weak", "strong", "data", *SETTINGS)}
    models = f"{shared['weak'] or 'several'} → {shared['strong'] or 'several'}"
    settings = [shared[field] for field in SETTINGS if shared[field] not in ("", "full")]
    return f"{models} on {shared['data'] or 'several data sets'}" + (f" ({', '.join(settings)})" if settings else "")


def group_names(entries: Sequence[Entry]) -> list[str]:
    """What tells each entry from the others: models, data, method, loss, mode, seeds; the key where these are the same."""
    differing = [field for field in ("data", *SETTINGS, "stage") if _differs(entries, field)]
    pair = [field for field in ("weak", "strong") if _differs(entries, field)]
    names = [
        ", ".join([" → ".join(e[field] for field in pair)] * bool(pair) + [_said(e, field) for field in differing])
        for e in entries
    ]
    return [
        name if names.count(name) == 1 else f"{name} {entry['key']}".lstrip()
        for name, entry in zip(names, entries, strict=True)
    ]


def _common(entries: Sequence[Entry], field: str) -> str:
    """The value that all entries have; '' where they differ."""
    values = {_said(entry, field) for entry in entries}
    return values.pop() if len(values) == 1 else ""


def _differs(entries: Sequence[Entry], field: str) -> bool:
    return len({_said(entry, field) for entry in entries}) > 1


def _said(entry: Entry, field: str) -> str:
    """A field of an entry in words."""
    if field != "seeds":  # "train" is not in results of the first version
        return str(entry.get(field, ""))
    seeds = entry["seeds"]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
