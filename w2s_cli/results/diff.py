"""The differences between two runs, sweeps or stages, as plain data: configuration, data, code, environment, stages.

* A side has its configurations and its stages with their records; the side of a stage has the stage and all its inputs.
* Fields of sweeps are compared as sets of values. Stages with one key are the same; other stages are matched by name and by the number
  of equal params.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from w2s_cli.data.artifacts import ROWS
from w2s_cli.results.fields import flatten
from w2s_cli.results.reader import Entry
from w2s_cli.results.stages import Stage

Change = tuple[str, str, str]  # name, value in A, value in B
ABSENT = "-"
NO_SETTINGS = ("seeds", "outputs", "remotes")  # the choice of seeds, and places


@dataclass
class Side:
    """One of the two compared sides."""

    name: str
    configs: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)  # by key
    entries: list[Entry] = field(default_factory=list)


def config_changes(a: Side, b: Side) -> list[Change]:
    """The different fields of the configurations, without a method's copies of other groups."""
    values = [_values(side.configs) for side in (a, b)]
    changes = [(name, old, new) for name, old, new in changed(*values) if name not in NO_SETTINGS]
    outside = {(name.rsplit(".", 1)[-1], old, new) for name, old, new in changes if not name.startswith("method.")}
    return [c for c in changes if not (c[0].startswith("method.") and (c[0].rsplit(".", 1)[-1], c[1], c[2]) in outside)]


def _values(configs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Dotted field → its values over all jobs, in words."""
    values_of: dict[str, dict[str, None]] = {}
    for config in configs:
        for name, value in flatten(dict(config)):
            values_of.setdefault(name, {})[as_word(value)] = None
    return {name: ", ".join(values) for name, values in values_of.items()}


def changed(a: Mapping[str, str], b: Mapping[str, str]) -> list[Change]:
    """The names with different values."""
    names = dict.fromkeys([*a, *b])
    return [(name, a.get(name, ABSENT), b.get(name, ABSENT)) for name in names if a.get(name) != b.get(name)]


def as_word(value: Any) -> str:
    """A value as one short word."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data_changes(a: Side, b: Side) -> list[Change]:
    """The different rows stages: source, params, number and digest of the rows."""
    return changed(_data(a), _data(b))


def _data(side: Side) -> dict[str, str]:
    values_of: dict[str, dict[str, None]] = {}
    for stage in side.stages.values():
        if stage.gives != "rows":
            continue
        pool = f"{(stage.params.get('dataset') or {}).get('name', '?')} {stage.params.get('pool', stage.name)}"
        facts = {
            f"{pool} {name}": value for name, value in flatten({n: v for n, v in stage.params.items() if n != "pool"})
        }
        facts[f"{pool} rows"] = stage.metrics.get("rows")
        facts[f"{pool} {ROWS}"] = (stage.manifest.get("files", {}).get(ROWS) or {}).get("sha256", "")[:12]
        for name, value in facts.items():
            values_of.setdefault(name, {})[as_word(value)] = None
    return {name: ", ".join(values) for name, values in values_of.items()}


def code_changes(a: Side, b: Side) -> list[Change]:
    """The different commits and code of stage kinds, losses and data transforms."""
    return changed(_code(a), _code(b))


def _code(side: Side) -> dict[str, str]:
    values_of: dict[str, dict[str, None]] = {}

    def note(name: str, value: Any) -> None:
        values_of.setdefault(name, {})[as_word(value)] = None

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
    return {name: ", ".join(sorted(values)) for name, values in values_of.items()}


def environment_changes(a: Side, b: Side) -> list[Change]:
    """The different Python, libraries, machine and device of the stages."""
    return changed(_environment(a), _environment(b))


def _environment(side: Side) -> dict[str, str]:
    values_of: dict[str, dict[str, None]] = {}
    for stage in side.stages.values():
        provenance = stage.record.get("provenance") or {}
        facts = {name: provenance.get(name) for name in ("python", "host", "platform", "processor")}
        facts |= provenance.get("libraries") or {}
        facts |= (
            {name: (stage.record.get("execution") or {}).get(name) for name in ("device", "threads")}
            if stage.record
            else {}
        )
        facts |= {"device": provenance["device"]} if "device" in provenance else {}  # auto, as it was chosen
        for name, value in facts.items():
            if value is not None:
                values_of.setdefault(name, {})[as_word(value)] = None
    return {name: ", ".join(sorted(values)) for name, values in values_of.items()}


@dataclass
class StageChanges:
    """The comparison of the stages of two sides."""

    shared: list[Stage]
    only_a: list[Stage]
    only_b: list[Stage]
    changed: list[tuple[Stage, Stage, list[Change], list[str]]]  # different params, and edges with different inputs


def stage_changes(a: Side, b: Side) -> StageChanges:
    """Shared stages, stages of one side alone, and pairs of equal name and kind with their differences."""
    shared = [stage for key, stage in a.stages.items() if key in b.stages]
    rest_a = [stage for key, stage in a.stages.items() if key not in b.stages]
    rest_b = [stage for key, stage in b.stages.items() if key not in a.stages]
    pairs, only_a = [], []
    for stage in rest_a:
        candidates = [other for other in rest_b if (other.name, other.kind) == (stage.name, stage.kind)]
        if not candidates:
            only_a.append(stage)
            continue
        nearest = min(candidates, key=lambda other: len(_params(stage, other)))
        rest_b.remove(nearest)
        edges = [
            edge
            for edge in dict.fromkeys([*stage.inputs, *nearest.inputs])
            if stage.inputs.get(edge) != nearest.inputs.get(edge)
        ]
        pairs.append((stage, nearest, _params(stage, nearest), edges))
    return StageChanges(shared, only_a, rest_b, pairs)


def _params(a: Stage, b: Stage) -> list[Change]:
    return changed(*({name: as_word(value) for name, value in flatten(stage.params)} for stage in (a, b)))


def matched(a: Side, b: Side) -> list[tuple[Entry, Entry]]:
    """Pairs of results of the same kind with the most fields and seeds in common. Each result is in at most one pair."""
    pairs = []
    unmatched = list(b.entries)
    for entry in a.entries:
        candidates = [other for other in unmatched if other.summarises == entry.summarises]
        if not candidates:
            continue
        best = max(
            candidates, key=lambda other: (_common(entry, other), other.seeds == entry.seeds, other.key == entry.key)
        )
        unmatched.remove(best)
        pairs.append((entry, best))
    return pairs


def _common(a: Entry, b: Entry) -> int:
    shared = [name for name, value in a.fields.items() if b.fields.get(name) == value]
    return len(shared) + (2 if a.seeds == b.seeds else 0)
