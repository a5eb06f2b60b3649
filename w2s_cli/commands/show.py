"""`w2s show KEY-PREFIX`: everything that is known of one stage."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.records import files_size, input_keys, job_of, parse, parser, runs_of, size, stage_of, store_of
from w2s_cli.store.store import Store, folder_state


def run(argv: list[str]) -> int:
    """Print identity, inputs, the runs that name it, state, metrics, files and provenance."""
    made = parser("show", "Show one stage: identity, inputs, metrics, files, provenance.")
    made.add_argument("key", metavar="KEY-PREFIX", help="the first digits of a key, as w2s ls shows it")
    made.add_argument("--json", action="store_true", help="the same as JSON")
    options = parse(made, argv)
    store = store_of(options)
    folder = _stage(store, options.key)
    job, state = job_of(folder), folder_state(folder, cache=store.digests)
    if options.json:
        print(
            json.dumps(
                {
                    "job": job,
                    "state": state.word,
                    "detail": state.detail,
                    "metrics": state.metrics,
                    "record": state.record,
                },
                indent=1,
            )
        )
        return 0
    print(f"{job['name']}: {job['kind']} {job['key']}  {state.word}  {state.detail}".rstrip())
    print(f"folder: {folder}  ({size(files_size(folder))})")
    section("params", job["params"])
    inputs(store, job)
    section("runs", {folder.name: str(folder / "config.yaml") for folder in runs_of(store, job["key"])})
    section("metrics", state.metrics)
    record = {name: value for name, value in state.record.items() if name not in ("times", "inputs", "execution")}
    for name in ("started", "ended"):
        if name in record:
            record[name] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record[name]))
    section("record", record)
    section(
        "files",
        {
            path.relative_to(folder).as_posix(): size(path.stat().st_size)
            for path in sorted((folder / "result").rglob("*"))
            if path.is_file()
        },
    )
    return 0


def _stage(store: Store, name: str) -> Path:
    """The stage of this name; UserError says so where it is a run."""
    try:
        return stage_of(store, name)
    except UserError:
        given, part = Path(name).expanduser().absolute(), name.rstrip("/")
        runs = [
            path for kind in ("runs", "sweeps") for path in sorted((store.root / kind).glob("*/*")) if path.is_dir()
        ]
        found = [path for path in runs if path == given or (part and part in path.name)]
        if len(found) != 1 and not any(part == path.name or path == given for path in found):
            raise
        run_name = found[0].name
        raise UserError(
            f"{run_name} is a run, and w2s show is for one stage. Its page: w2s report {run_name}; its figures: w2s table {run_name}; "
            f"against another run: w2s diff {run_name} OTHER; its stages: {os.path.relpath(found[0])}/plan.json."
        ) from None


def section(title: str, values: dict[str, Any]) -> None:
    """A heading and one `name: value` a line; values inside values are named `outer.inner`."""
    if values:
        print(f"\n{title}")
        for name, value in flat(values):
            print(f"  {name}: {value if isinstance(value, str | Path) else json.dumps(value)}")


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def inputs(store: Store, job: dict[str, Any]) -> None:
    """Each input with its key and folder."""
    found = {f"{edge} {key}": str(store.folder(key) or "not there") for edge, key in input_keys(job)}
    section("inputs", found)
