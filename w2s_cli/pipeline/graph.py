"""The graph of stages and their dependencies, as data: the same for one run, several seeds, and a sweep.

A stage of several configurations has one key, and is in the graph once.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from w2s_cli.pipeline.kinds import Kind
from w2s_cli.store import keys
from w2s_cli.store.files import safe_name


@dataclass(frozen=True)
class Stage:
    """One stage of the graph."""

    name: str
    of: Kind
    identity: dict[str, Any]
    key: str
    slug: str
    execution: dict[str, Any]  # settings for the worker beside the identity; not hashed
    about: dict[str, Any]  # facts for plans: model, rows, lr, …

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.of.name

    @property
    def inputs(self) -> dict[str, Any]:
        """Edge → key, or list of keys."""
        return dict(self.identity["inputs"])

    def upstream(self) -> list[str]:
        """Keys of all inputs."""
        return [key for value in self.inputs.values() for key in (value if isinstance(value, list) else [value])]


@dataclass
class Job:
    """One configuration, the keys of its stages, and the fields of the configuration that the stages read."""

    config: dict[str, Any]
    reads: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)  # stage name → key
    unread: set[str] = field(default_factory=set)  # keys of stages that a stage names and does not need
    words: Sequence[str] = ()  # this job's words of the command line, for the record only
    # the configuration as written, without seeds and resolved references
    setting: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """The union graph of one command."""

    stages: dict[str, Stage] = field(default_factory=dict)  # by key, inputs before their readers
    jobs: list[Job] = field(default_factory=list)
    summaries: list[tuple[list[Job], str, str]] = field(default_factory=list)  # jobs of all seeds, evaluate stage, key
    asked: Counter[str] = field(default_factory=Counter)  # key → how many equal stages it stands for

    def add(
        self,
        name: str,
        kind: Kind,
        params: Mapping[str, Any],
        inputs: Mapping[str, Any],
        slug: str,
        execution: dict[str, Any],
        about: dict[str, Any],
    ) -> str:
        """Add a stage unless the graph has it; returns its key."""
        ident = keys.identity(kind.name, kind.version, kind.identity_params(params), inputs)
        key = keys.stage_key(ident)
        self.asked[key] += 1
        if key not in self.stages:
            self.stages[key] = Stage(name, kind, ident, key, safe_name(slug), execution, about)
        return key

    def without_unread(self, job: Job) -> Job:
        """The job without the stages that only stages with no need of them name; `job` is not in the graph yet."""
        read = {key for named in job.names.values() for key in self.stages[named].upstream()}
        elsewhere = {key for other in self.jobs for key in other.names.values()}
        for name, key in list(job.names.items()):
            if key in job.unread - read:
                del job.names[name]
                if key not in elsewhere:
                    self.stages.pop(key, None)
        return job

    def asked_for(self, chosen: Collection[str]) -> int:
        """The number of these stages before equal ones are joined."""
        return sum(self.asked[key] for key in chosen)

    def upstream_closure(self, targets: Sequence[str]) -> set[str]:
        """The targets and all stages that they depend on."""
        closure: set[str] = set()
        waiting = list(targets)
        while waiting:
            key = waiting.pop()
            if key not in closure:
                closure.add(key)
                waiting.extend(self.stages[key].upstream())
        return closure
