"""What differs between two runs, sweeps or stages, as plain data: configuration, data, code, environment, stages.

* A side is its configurations and the stages behind it, with what their records say; a stage stands for all that it was made from.
* Fields of sweeps are compared as sets of values. Stages are the same when their keys are; what is left is matched by name and by how many
  params agree.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.data.artifacts import ROWS
from w2s_cli.results.table.entries import Entry, flatten
from w2s_cli.store.files import read_json
from w2s_cli.store.store import Store

Change = tuple[str, str, str]  # what, in A, in B
ABSENT = "-"
UNSAID = ("seeds",)  # fields that only say how seeds were asked for


@dataclass
class Stored:
    """One stage as its files tell it."""

    key: str
    name: str
    kind: str
    params: dict[str, Any]
    inputs: dict[str, Any]
    record: dict[str, Any]
    manifest: dict[str, Any]


@dataclass
class Side:
    """One of the two."""

    name: str
    configs: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, Stored] = field(default_factory=dict)  # by key
    entries: list[Entry] = field(default_factory=list)


def stored(folder: Path) -> Stored:
    """The stage in a folder; what cannot be read is empty."""
    job = read_json(folder / "stage.json") or {}
    record = read_json(folder / "record.json") or {}
    manifest = read_json(folder / "result" / "manifest.json") or {}
    parts = {name: job.get(name) or {} for name in ("params", "inputs")}
    return Stored(
        folder.name[-12:],
        job.get("name", "?"),
        job.get("kind", "?"),
        parts["params"],
        parts["inputs"],
        record,
        manifest,
    )


def upstream(store: Store, keys: Iterable[str]) -> dict[str, Stored]:
    """Stages and everything they were made from, as far as it is there."""
    found: dict[str, Stored] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        folder = store.folder(key)
        if key in found or folder is None:
            continue
        found[key] = stored(folder)
        for value in found[key].inputs.values():
            waiting += value if isinstance(value, list) else [value]
    return found


def config_changes(a: Side, b: Side) -> list[Change]:
    """Fields of the configurations that differ; a method's copies of other blocks are left out."""
    values = [_values(side.configs) for side in (a, b)]
    changes = [(name, old, new) for name, old, new in changed(*values) if name not in UNSAID]
    outside = {(name.rsplit(".", 1)[-1], old, new) for name, old, new in changes if not name.startswith("method.")}
    return [c for c in changes if not (c[0].startswith("method.") and (c[0].rsplit(".", 1)[-1], c[1], c[2]) in outside)]


def _values(configs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Dotted field → its values over all jobs, in words."""
    found: dict[str, dict[str, None]] = {}
    for config in configs:
        for name, value in flatten(dict(config)):
            found.setdefault(name, {})[spoken(value)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def changed(a: Mapping[str, str], b: Mapping[str, str]) -> list[Change]:
    """The names whose values differ."""
    names = dict.fromkeys([*a, *b])
    return [(name, a.get(name, ABSENT), b.get(name, ABSENT)) for name in names if a.get(name) != b.get(name)]


def spoken(value: Any) -> str:
    """A value as one short word."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data_changes(a: Side, b: Side) -> list[Change]:
    """Rows stages that differ: source, params, number and digest of the rows."""
    return changed(_data(a), _data(b))


def _data(side: Side) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for stage in side.stages.values():
        if stage.kind != "rows":
            continue
        pool = f"{(stage.params.get('dataset') or {}).get('name', '?')} {stage.params.get('pool', stage.name)}"
        said = {
            f"{pool} {name}": value for name, value in flatten({n: v for n, v in stage.params.items() if n != "pool"})
        }
        said[f"{pool} rows"] = stage.manifest.get("metrics", {}).get("rows")
        said[f"{pool} {ROWS}"] = (stage.manifest.get("files", {}).get(ROWS) or {}).get("sha256", "")[:12]
        for name, value in said.items():
            found.setdefault(name, {})[spoken(value)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def code_changes(a: Side, b: Side) -> list[Change]:
    """Commits, code of stage kinds, of losses and of data transforms."""
    return changed(_code(a), _code(b))


def _code(side: Side) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}

    def note(name: str, value: Any) -> None:
        found.setdefault(name, {})[spoken(value)] = None

    for stage in side.stages.values():
        provenance = stage.record.get("provenance") or {}
        git = provenance.get("git")
        if stage.record:
            note(
                "commit",
                f"{git['commit'][:12]}{' with local changes ' + git['dirty'] if git['dirty'] else ''}"
                if git
                else "none",
            )
            note("w2s", provenance.get("w2s"))
            note(f"code of {stage.kind} stages", stage.record.get("code"))
        for name, value in stage.params.items():
            if isinstance(value, dict) and value.get("code"):
                note(f"{name} {value.get('name', '')}".rstrip(), value["code"])
        if stage.params.get("code"):
            note(f"{(stage.params.get('dataset') or {}).get('transform', stage.name)} transform", stage.params["code"])
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def environment_changes(a: Side, b: Side) -> list[Change]:
    """Python, libraries, machine and device that the stages were made with."""
    return changed(_environment(a), _environment(b))


def _environment(side: Side) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for stage in side.stages.values():
        provenance = stage.record.get("provenance") or {}
        said = {name: provenance.get(name) for name in ("python", "host", "platform")} if provenance else {}
        said |= provenance.get("libraries") or {}
        said |= (
            {name: (stage.record.get("execution") or {}).get(name) for name in ("device", "threads")}
            if stage.record
            else {}
        )
        said |= {
            name: value for name, value in (stage.record.get("measured") or {}).items() if name in ("device", "gpu")
        }
        for name, value in said.items():
            if value is not None:
                found.setdefault(name, {})[spoken(value)] = None
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


@dataclass
class StageChanges:
    """How the stages of two sides compare."""

    shared: list[Stored]
    only_a: list[Stored]
    only_b: list[Stored]
    changed: list[tuple[Stored, Stored, list[Change], list[str]]]  # params that differ, and the edges whose inputs do


def stage_changes(a: Side, b: Side) -> StageChanges:
    """Shared keys, stages of one side alone, and pairs of one name and kind with what differs in them."""
    shared = [stage for key, stage in a.stages.items() if key in b.stages]
    left = [stage for key, stage in a.stages.items() if key not in b.stages]
    right = [stage for key, stage in b.stages.items() if key not in a.stages]
    pairs, only_a = [], []
    for stage in left:
        fitting = [other for other in right if (other.name, other.kind) == (stage.name, stage.kind)]
        if not fitting:
            only_a.append(stage)
            continue
        nearest = min(fitting, key=lambda other: len(_params(stage, other)))
        right.remove(nearest)
        edges = [
            edge
            for edge in dict.fromkeys([*stage.inputs, *nearest.inputs])
            if stage.inputs.get(edge) != nearest.inputs.get(edge)
        ]
        pairs.append((stage, nearest, _params(stage, nearest), edges))
    return StageChanges(shared, only_a, right, pairs)


def _params(a: Stored, b: Stored) -> list[Change]:
    return changed(*({name: spoken(value) for name, value in flatten(stage.params)} for stage in (a, b)))


def matched(a: Side, b: Side) -> list[tuple[Entry, Entry]]:
    """Results that belong side by side: of the same kind, with the most fields and seeds in common. Each is used once."""
    pairs = []
    free = list(b.entries)
    for entry in a.entries:
        fitting = [other for other in free if (other.stage == "summary") == (entry.stage == "summary")]
        if not fitting:
            continue
        best = max(
            fitting, key=lambda other: (_common(entry, other), other.seeds == entry.seeds, other.key == entry.key)
        )
        free.remove(best)
        pairs.append((entry, best))
    return pairs


def _common(a: Entry, b: Entry) -> int:
    shared = [name for name, value in a.fields.items() if b.fields.get(name) == value]
    return len(shared) + (2 if a.seeds == b.seeds else 0)
