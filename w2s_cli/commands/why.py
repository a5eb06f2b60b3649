"""`w2s why KEY-PREFIX`: where a result comes from, down to data rows, code and commits; or what keeps it from being there."""

import os
from typing import Any

from w2s_cli.data.artifacts import LABELS, PREDICTIONS, ROWS
from w2s_cli.results.records import input_keys, job_of, parse, parser, runs_of, stage_of, store_of
from w2s_cli.store.files import read_json
from w2s_cli.store.store import Store, folder_state


def run(argv: list[str]) -> int:
    """Print the tree of inputs below one stage."""
    made = parser("why", "Show where a stage's result comes from: its inputs, theirs, and what determined each.")
    made.add_argument("key", metavar="KEY-PREFIX")
    options = parse(made, argv)
    store = store_of(options)
    folder = stage_of(store, options.key)
    key = folder.name[-12:]
    for named in runs_of(store, key):
        print(f"configured in {os.path.relpath(named / 'config.yaml')}")
    explain(store, key, "", set())
    return 0


def explain(store: Store, key: str, indent: str, seen: set[str], edge: str = "") -> None:
    """One stage and, indented, its inputs; a stage that was shown above is only named."""
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
    for line in [*rows_of(store, key), *reasons(store, job, state.record)]:
        print(f"{indent}    {line}")
    for name, below in input_keys(job):
        explain(store, below, indent + "  ", seen, name)


def rows_of(store: Store, key: str) -> list[str]:
    """The table of rows or predictions that a stage wrote, by its digest."""
    folder = store.folder(key)
    manifest = (read_json(folder / "result" / "manifest.json") or {}) if folder else {}
    found = [(name, manifest.get("files", {}).get(name)) for name in (ROWS, LABELS, PREDICTIONS)]
    return [f"{name} sha256={about['sha256']}" for name, about in found if about]


def reasons(store: Store, job: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """What determined a stage, in words."""
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
        lines.append(f"made by run {record['run']}, {commit}, w2s {record.get('provenance', {}).get('w2s', '?')}")
    for key, digest in record.get("inputs", {}).items():
        folder = store.folder(key)
        now = folder_state(folder, verify=False).record.get("result") if folder else None
        if now is not None and now != digest:
            lines.append(f"OUTDATED: input {key} was made again with another result")
    return lines
