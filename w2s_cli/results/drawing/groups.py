"""Stages of one name in groups that differ in their seeds only, with a name for each group.

* Two stages are of one group if their params and inputs are equal without seeds, as for the families of results (`pipeline.families`).
* A group is named by the fields of the results above it that distinguish it from the other groups: its loss, data set, method or another
  field of the configuration. Groups without such a field are numbered.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from w2s_cli.pipeline.families import digest, seedless
from w2s_cli.results.fields import shown, value_of
from w2s_cli.results.reader import Entry, Run
from w2s_cli.results.stages import Stage
from w2s_cli.results.table.distinguishing import varying

FIELDS = ("data", "weak", "strong", "method", "loss", "train")


def grouped(run: Run, stages: Sequence[Stage]) -> list[tuple[str, list[Stage]]]:
    """(name, stages) of each group, in the order of the plan; the name of a single group is empty."""
    digests: dict[str, str] = {}
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(_family(run, stage.key, digests), []).append(stage)
    if len(groups) == 1:
        return [("", list(stages))]
    return list(zip(_names(run, list(groups.values())), groups.values(), strict=True))


def _family(run: Run, key: str, digests: dict[str, str]) -> str:
    """The digest of a planned stage without its seeds and those of its inputs; the key of a stage that the plan lacks."""
    stage = run.by_key.get(key)
    if stage is None:
        return key
    if key not in digests:
        digests[key] = key  # ends even if files were edited into a circle
        inputs = sorted((edge, _family(run, input_key, digests)) for edge, input_key in stage.upstream())
        digests[key] = digest([stage.kind, seedless(stage.params), inputs])
    return digests[key]


def _names(run: Run, groups: Sequence[Sequence[Stage]]) -> list[str]:
    entries = [entry for entry in run.entries if not entry.summarises]
    behind = {entry.key: run.behind(entry.key) for entry in entries}
    readers = [[entry for entry in entries if any(s.key in behind[entry.key] for s in group)] for group in groups]
    fields = [*FIELDS, *varying(entries)]
    values = [{name: _common(of_group, name) for name in fields} for of_group in readers]
    told = [name for name in fields if len({of_group[name] for of_group in values}) > 1]
    names = [", ".join(str(of_group[name]) for name in told if of_group[name] is not None) for of_group in values]
    return [name if name and names.count(name) == 1 else _numbered(name, place) for place, name in enumerate(names)]


def _common(entries: Sequence[Entry], name: str) -> str | None:
    """The value that all entries have; None if they differ."""
    values: Mapping[str, Any] = {shown(value_of(entry, name)): None for entry in entries}
    return next(iter(values)) if len(values) == 1 else None


def _numbered(name: str, place: int) -> str:
    return f"{name} ({place + 1})" if name else f"setting {place + 1}"
