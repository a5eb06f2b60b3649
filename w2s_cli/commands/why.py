"""`w2s why KEY-PREFIX`: the origin of a result, down to data rows, code and commits, or the missing stages before it."""

import os
from typing import Any

from w2s_cli.commands.options import job_of, parse, parser, stage_of, store_of
from w2s_cli.data.artifacts import LABELS, PREDICTIONS, ROWS
from w2s_cli.results.planned import runs_of
from w2s_cli.results.runs import CONFIG, run_folders
from w2s_cli.results.stages import Stage, read_stage
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.store import Store, folder_state


def run(argv: list[str]) -> int:
    """Print the tree of inputs below one stage."""
    arg_parser = parser(
        "why", "Show the origin of a stage's result: all its inputs, and the settings that determined each."
    )
    arg_parser.add_argument("key", metavar="KEY-PREFIX")
    options = parse(arg_parser, argv)
    store = store_of(options)
    folder = stage_of(store, options.key)
    key = folder.name[-KEY_DIGITS:]
    for path in runs_of(run_folders(store.root), key):
        print(f"configured in {os.path.relpath(path / CONFIG)}")
    explain(store, key, "", set())
    return 0


def explain(store: Store, key: str, indent: str, seen: set[str], edge: str = "") -> None:
    """Print one stage and, indented, its inputs; a stage printed above is only named."""
    folder = store.folder(key)
    head = f"{indent}{edge + ': ' if edge else ''}"
    if folder is None:
        print(f"{head}{key} is not in this outputs folder")
        return
    job, state = job_of(folder), folder_state(folder, cache=store.digests)
    print(
        f"{head}{job['name']} ({job['kind']} {key}) {state.word} {state.detail}".rstrip()
        + (" (see above)" if key in seen else "")
    )
    if key in seen:
        return
    seen.add(key)
    stage = Stage(key, folder)
    for line in [*tables_of(stage), *reasons(store, job, state.record)]:
        print(f"{indent}    {line}")
    for name, input_key in stage.upstream():
        explain(store, input_key, indent + "  ", seen, name)


def tables_of(stage: Stage) -> list[str]:
    """The tables of rows, labels or predictions of a stage, with their digests."""
    files = stage.manifest.get("files", {})
    return [f"{name} sha256={files[name]['sha256']}" for name in (ROWS, LABELS, PREDICTIONS) if name in files]


def reasons(store: Store, job: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """The settings that determined a stage, in words."""
    params = job["params"]
    lines = []
    source = params.get("source")
    if source:
        lines.append("data " + " ".join(f"{name}={value}" for name, value in source.items() if value))
        lines.append(f"pool {params['pool']}, limit {params.get('limit')}, data seed {params.get('seed')}")
    if params.get("model"):
        lines.append("base model " + " ".join(f"{name}={value}" for name, value in params["model"].items()))
    if "loss" in params:
        loss = params["loss"]
        lines.append(
            f"loss {loss['name']} {loss['args']} code {loss['code']}, lr {params['lr']:g}, seed {params['seed']}"
        )
    git = (record.get("provenance") or {}).get("git")
    if record:
        commit = (
            f"commit {git['commit'][:12]}{' with local changes' if git['dirty'] else ''}" if git else "no git checkout"
        )
        lines.append(
            f"made by run {record.get('run', '?')}, {commit}, w2s {record.get('provenance', {}).get('w2s', '?')}"
        )
    for key, digest in record.get("inputs", {}).items():
        now = read_stage(store, key).record.get("result")
        if now is not None and now != digest:
            lines.append(f"OUTDATED: input {key} was made again with another result")
    return lines
