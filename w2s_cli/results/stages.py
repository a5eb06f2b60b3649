"""The one reader of a stage's folder: its job, record, metrics and artifacts, read lazily; a table is hashed before it is read (`has`).

A missing or cut-short file reads as empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from w2s_cli.store.files import digest
from w2s_cli.store.shapes import read_job, read_manifest, read_record
from w2s_cli.store.store import State, Store, folder_state


@dataclass(frozen=True)
class Stage:
    """One stage: its line in a plan, if it was read from one, and the contents of its folder."""

    key: str
    folder: Path | None  # None: never begun
    planned: Mapping[str, Any] = field(default_factory=dict)  # its line of plan.json

    @cached_property
    def job(self) -> dict[str, Any]:
        """stage.json; {} if it cannot be read."""
        return (read_job(self.folder) if self.folder else None) or {}

    @cached_property
    def record(self) -> dict[str, Any]:
        """record.json: time, machine and code of the stage; {} unless the stage is finished."""
        return (read_record(self.folder) if self.folder else None) or {}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The files of its result with their digests, and its metrics; {} without a result."""
        return (read_manifest(self.folder) if self.folder else None) or {}

    @cached_property
    def state(self) -> State:
        """The state by its files; the bytes of its result are not verified."""
        return folder_state(self.folder, verify=False) if self.folder else State("missing")

    @property
    def name(self) -> str:
        return str(self.planned.get("name") or self.job.get("name") or "?")

    @property
    def kind(self) -> str:
        return str(self.planned.get("kind") or self.job.get("kind") or "?")

    @property
    def gives(self) -> str | None:
        """What a stage of its kind gives (`Traits.gives`); None of a stage that a plan did not name and that is not finished."""
        gives: str | None = self.planned.get("gives") or self.record.get("gives")
        return gives

    @property
    def inputs(self) -> dict[str, Any]:
        """Edge → key, or list of keys."""
        return self.planned.get("inputs") or self.job.get("inputs") or {}

    @property
    def params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.job.get("params", {})
        return params

    @property
    def metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = self.manifest.get("metrics", {})
        return metrics

    @property
    def result(self) -> Path | None:
        """The folder of its artifacts; None unless the stage is finished."""
        return self.folder / "result" if self.folder and (self.folder / "record.json").exists() else None

    def has(self, table: str) -> bool:
        """Whether its result has this file with the bytes of the manifest: no figure is made of a damaged table."""
        expected = self.manifest.get("files", {}).get(table)
        path = self.folder / "result" / table if self.folder else None
        return bool(expected and path and path.is_file() and digest(path) == expected["sha256"])

    def upstream(self) -> list[tuple[str, str]]:
        """(edge, key) of every input."""
        return [
            (edge, key)
            for edge, value in self.inputs.items()
            for key in (value if isinstance(value, list) else [value])
        ]


def read_stage(store: Store, key: str) -> Stage:
    """The stage with this key, read from its folder."""
    return Stage(key, store.folder(key))


def read_upstream(store: Store, keys: Iterable[str]) -> dict[str, Stage]:
    """The stages of `keys` and all their stored inputs, direct or not."""
    stages: dict[str, Stage] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        stage = read_stage(store, key)
        if key not in stages and stage.folder is not None:
            stages[key] = stage
            waiting += [input_key for _, input_key in stage.upstream()]
    return stages
