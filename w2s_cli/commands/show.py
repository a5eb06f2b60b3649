"""`w2s show KEY-PREFIX`: one stage: identity, inputs, metrics, files, provenance."""

import json
import os
import time
from pathlib import Path
from typing import Any

from w2s_cli.commands.options import file_size, job_of, parse, parser, runs_called, stage_of, store_of
from w2s_cli.errors import UserError
from w2s_cli.results.fields import flatten
from w2s_cli.results.planned import runs_of
from w2s_cli.results.runs import CONFIG, PLAN, run_folders
from w2s_cli.results.stages import Stage
from w2s_cli.results.written_metrics import read_curve
from w2s_cli.store.files import files_size
from w2s_cli.store.places import command_line
from w2s_cli.store.store import Store, folder_state

LOSSES = 8  # of a training that are printed


def run(argv: list[str]) -> int:
    """Print identity, inputs, runs, state, metrics, files and provenance of one stage."""
    arg_parser = parser("show", "Show one stage: identity, inputs, metrics, files, provenance.")
    arg_parser.add_argument("key", metavar="KEY-PREFIX", help="the first digits of a key, as w2s ls shows it")
    arg_parser.add_argument("--json", action="store_true", help="the same as JSON")
    options = parse(arg_parser, argv)
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
    print(f"folder: {folder}  ({file_size(files_size(folder))})")
    section("params", job["params"])
    inputs(store, Stage(job["key"], folder))
    section("runs", {path.name: str(path / CONFIG) for path in runs_of(run_folders(store.root), job["key"])})
    section("metrics", state.metrics)
    losses(folder)
    record = {name: value for name, value in state.record.items() if name not in ("times", "inputs", "execution")}
    for name in ("started", "ended"):
        if name in record:
            record[name] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record[name]))
    section("record", record)
    section(
        "files",
        {
            path.relative_to(folder).as_posix(): file_size(path.stat().st_size)
            for path in sorted((folder / "result").rglob("*"))
            if path.is_file()
        },
    )
    return 0


def _stage(store: Store, name: str) -> Path:
    """The stage `name`.

    Raises:
        UserError: no such stage; if the name is a run, with the commands for runs.
    """
    try:
        return stage_of(store, name)
    except UserError:
        runs = runs_called(store, name)
        if len(runs) != 1:
            raise
        run_name = runs[0].name
        page, figures, against = (
            command_line(store.root, *words)
            for words in (("report", run_name), ("table", run_name), ("diff", run_name, "OTHER"))
        )
        raise UserError(
            f"{run_name} is a run, and w2s show is for one stage. Its page: {page}; its figures: {figures}; against another run: "
            f"{against}; its stages: {os.path.relpath(runs[0])}/{PLAN}."
        ) from None


def section(title: str, values: dict[str, Any]) -> None:
    """Print a heading and one `name: value` per line; nested values have names `outer.inner`."""
    if values:
        print(f"\n{title}")
        for name, value in flatten(values):
            print(f"  {name}: {value if isinstance(value, str | Path) else json.dumps(value)}")


def losses(folder: Path) -> None:
    """Print some losses of a training, from the first to the last that it has written; `w2s plot curves` draws all."""
    line = read_curve(folder / "metrics.jsonl").get("loss", [])
    chosen = sorted({round(place * (len(line) - 1) / (LOSSES - 1)) for place in range(LOSSES)}) if line else []
    section("loss", {f"step {line[place][0]:.0f}": f"{line[place][1]:.4g}" for place in chosen})


def inputs(store: Store, stage: Stage) -> None:
    """Print each input with its key and folder."""
    section("inputs", {f"{edge} {key}": str(store.folder(key) or "missing") for edge, key in stage.upstream()})
