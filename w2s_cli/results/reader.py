"""The one reader of runs and sweeps: configurations, plan and results. `stages` reads their stages.

* Files are read lazily, and no file of a stage is hashed. A configuration is parsed only if one of its fields is needed: a sweep's
  config.yaml takes seconds to parse, and its groups can be compared as text.
* A missing or cut-short file reads as empty, and so does one that was changed since it was written: the report of a broken run lists the
  missing parts instead of failing. Of a file with an item that cannot be read the other items are read.
* A run by an older w2s has other files (bare lists). It is recognised and refused, never misread.
* A stage in several runs is one result: the one of the run written last.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.runs import CONFIG, PLAN, RESULTS
from w2s_cli.results.shapes import Planned, Written
from w2s_cli.results.stages import Stage
from w2s_cli.store.files import digest, is_broken, read_configs, read_json
from w2s_cli.store.shapes import fits
from w2s_cli.store.store import OLDER, Store

FORMAT = 2  # of results.json and plan.json
CONTENT = {RESULTS: ("entries", Written), PLAN: ("stages", Planned)}  # file → name of its list, shape of an item
SUMMARY = "summary"  # the stage of an entry over several seeds
NOT_FIELDS = (
    "metrics",
    "key",
    "stage",
    "seeds",
    "job",
    "words",
    "family",
    "environment",
)  # keys of an entry that are no setting


@dataclass(frozen=True)
class Entry:
    """One result of a run: an evaluate stage, or a summary of several over seeds."""

    fields: dict[str, Any]  # weak, strong, data, method, loss, …: all fields of its setting
    stage: str  # name of the evaluate stage, or "summary"
    key: str
    seeds: list[int]
    metrics: dict[str, Any]
    run: "Run" = field(repr=False, compare=False)
    job: int = 0  # number of its document in config.yaml; for a summary: of its first seed
    words: tuple[str, ...] = ()  # this job's words of the command line
    family: str = ""  # digest that the seeds of its setting share
    environment: Mapping[str, Sequence[str]] | None = None  # results.environment; None in results of an older w2s

    @classmethod
    def of(cls, written: Mapping[str, Any], run: "Run") -> "Entry":
        """An entry from an item of results.json."""
        return cls(
            {name: value for name, value in written.items() if name not in NOT_FIELDS},
            written["stage"],
            written["key"],
            list(written["seeds"]),
            written["metrics"],
            run,
            written.get("job", 0),
            tuple(written.get("words", ())),
            written.get("family", ""),
            written.get("environment"),
        )

    @property
    def summarises(self) -> bool:
        """Whether the entry is a summary over several seeds."""
        return self.stage == SUMMARY

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs of its stage: role → key of the compared labels; for a summary: runs → keys."""
        return self.run.compared.get(self.key, {})

    @property
    def evaluations(self) -> list[str]:
        """Keys of its evaluate stages: its own key, or the keys of the summarised stages."""
        return list(self.inputs.get("runs", ())) if self.summarises else [self.key]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of its job."""
        return self.run.config(self.job)

    @cached_property
    def blocks(self) -> dict[str, str]:
        """Top-level field of its configuration → its text, unparsed."""
        texts = self.run.texts
        pieces = re.split(r"^(?=[^\s-])", texts[self.job], flags=re.MULTILINE) if self.job < len(texts) else []
        return {piece.partition(":")[0]: piece for piece in pieces if piece.strip()}


@dataclass(frozen=True)
class Run:
    """One run or sweep: its folder, and the store of its stages."""

    folder: Path
    store: Store = field(repr=False)

    @cached_property
    def texts(self) -> list[str]:
        """config.yaml, a text for each job."""
        return [text for text in re.split(r"^---\s*$", self._text, flags=re.MULTILINE) if text.strip()]

    @cached_property
    def _text(self) -> str:
        """config.yaml; "" if it cannot be read, or is another one than plan.json has the digest of."""
        try:
            content = (self.folder / CONFIG).read_bytes()
            if not self._is_broken(CONFIG):
                return content.decode()
        except (OSError, ValueError):
            pass
        return ""

    @cached_property
    def configs(self) -> list[dict[str, Any]]:
        """The configurations of all jobs; [] if they cannot be read."""
        return read_configs(self._text)

    def config(self, job: int) -> dict[str, Any]:
        """The configuration of one job; {} without one."""
        if job not in self._parsed:
            self._parsed[job] = next(iter(read_configs(self.texts[job] if job < len(self.texts) else "")), {})
        return self._parsed[job]

    @cached_property
    def _parsed(self) -> dict[int, dict[str, Any]]:
        return {}

    @cached_property
    def plan(self) -> list[dict[str, Any]]:
        """The planned stages: name, kind, key, inputs, state; [] if they cannot be read."""
        return self._listed(PLAN)

    @cached_property
    def stages(self) -> list[Stage]:
        """The planned stages with their folders, in the order of the plan."""
        return [Stage(line["key"], self.store.folder(line["key"]), line) for line in self.plan]

    @cached_property
    def by_key(self) -> dict[str, Stage]:
        """Stage key → planned stage."""
        return {stage.key: stage for stage in self.stages}

    def behind(self, key: str) -> dict[str, Stage]:
        """The planned stage `key` with all its inputs, direct or not, by key."""
        stages: dict[str, Stage] = {}
        waiting = [key]
        while waiting:
            key = waiting.pop()
            if key in self.by_key and key not in stages:
                stages[key] = self.by_key[key]
                waiting += [input_key for _, input_key in stages[key].upstream()]
        return stages

    @cached_property
    def compared(self) -> dict[str, dict[str, Any]]:
        """Stage key → its inputs, of the stages whose results are compared."""
        return {stage.key: stage.inputs for stage in self.stages if stage.gives == "comparison"}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Stage key → kind."""
        return {stage.key: stage.kind for stage in self.stages}

    @cached_property
    def entries(self) -> list[Entry]:
        """All complete results."""
        return [Entry.of(item, self) for item in self._listed(RESULTS)]

    @property
    def settings(self) -> list[Entry]:
        """The results for people: the summaries over seeds if the run has any, else the results of each seed."""
        return [entry for entry in self.entries if entry.summarises] or self.entries

    @cached_property
    def missing(self) -> list[str]:
        """The missing parts of the run, in words."""
        lines = []
        for name, content in ((PLAN, "stages"), (RESULTS, "figures")):
            items = self._content(name)
            if self._is_broken(name):
                lines.append(f"{name} was changed since it was written: run the command of this run again")
            elif items is None:
                lines.append(f"{name} is missing or cut short: the {content} of this run are unknown")
            elif unread := len(items) - len(self._listed(name)):
                lines.append(
                    f"{unread} of the {len(items)} {CONTENT[name][0]} in {name} cannot be read and are left out"
                )
        if not self.configs:
            how = "was changed since it was written" if self._is_broken(CONFIG) else "is missing or cut short"
            lines.append(f"{CONFIG} {how}: the settings of this run are unknown")
        if self._content(RESULTS) == []:
            lines.append("no evaluation has finished, so the run has no figures yet")
        return lines

    @property
    def written(self) -> bool:
        """Whether configuration and plan are there as a command wrote them."""
        return bool(self._text and self.plan)

    @property
    def finished(self) -> bool:
        """Whether the command has ended with results: it writes them at the end, of a failed run those that need no failed stage."""
        return (self.folder / RESULTS).is_file()

    @property
    def older(self) -> bool:
        """Whether an older w2s wrote the run: its files are bare lists then."""
        return _is_older(self._file(RESULTS) or self._file(PLAN))

    @cached_property
    def _contents(self) -> dict[str, Any]:
        return {}

    def _file(self, name: str) -> Any:
        if name not in self._contents:
            try:
                self._contents[name] = read_json(self.folder / name)
            except OSError:  # of another user
                self._contents[name] = None
        return self._contents[name]

    def _content(self, name: str) -> list[Any] | None:
        """The list of a file; None if the file is missing, cut short, or of another format."""
        file = self._file(name)
        if not isinstance(file, dict) or file.get("format") != FORMAT or self._is_broken(name):
            return None
        items = file.get(CONTENT[name][0])
        return items if isinstance(items, list) else None

    def _is_broken(self, name: str) -> bool:
        """Whether a file's content was changed since a command wrote it; the first time that is seen, a note on stderr says so."""
        if name not in self._broken:
            self._broken[name] = self._has_other_config() if name == CONFIG else is_broken(self._file(name))
            if self._broken[name]:
                advice = "was changed since it was written: left out. The same command writes it again."
                print(f"{self.folder}/{name} {advice}", file=sys.stderr)
        return self._broken[name]

    def _has_other_config(self) -> bool:
        """Whether plan.json has the digest of another config.yaml; that of an older w2s has none."""
        plan, path = self._file(PLAN), self.folder / CONFIG
        wanted = plan.get("config") if isinstance(plan, dict) and not self._is_broken(PLAN) else None
        return wanted is not None and path.is_file() and digest(path) != wanted

    @cached_property
    def _broken(self) -> dict[str, bool]:
        return {}

    def _listed(self, name: str) -> list[dict[str, Any]]:
        """The items of a file's list that can be read."""
        return [item for item in self._content(name) or [] if fits(item, CONTENT[name][1])]

    def say_unread(self) -> None:
        """A note on stderr of results that are left out because they cannot be read."""
        unread = len(self._content(RESULTS) or ()) - len(self.entries)
        if unread:
            print(
                f"{'1 result' if unread == 1 else f'{unread} results'} of {self.folder.name} cannot be read: left out.",
                file=sys.stderr,
            )


def _is_older(file: Any) -> bool:
    return isinstance(file, list) and bool(file) and all(isinstance(item, dict) and "key" in item for item in file)


def read_run(folder: Path, store: Store) -> Run:
    """The run in a folder.

    Raises:
        UserError: a run by an older w2s.
    """
    run = Run(folder, store)
    if run.older:
        raise UserError(f"{folder.parent.name}/{folder.name} was {OLDER}.")
    run.say_unread()
    return run


def read_runs(folders: Iterable[Path], store: Store, *, named: bool) -> list[Run]:
    """Several runs.

    Args:
        named: whether the user named these runs. Else runs by an older w2s are left out, with a note on stderr.

    Raises:
        UserError: a named run by an older w2s.
    """
    if named:
        return [read_run(folder, store) for folder in folders]
    runs = [Run(folder, store) for folder in folders]
    older = sum(run.older for run in runs)
    if older:
        print(f"{'1 run is' if older == 1 else f'{older} runs are'} left out, {OLDER}.", file=sys.stderr)
    readable = [run for run in runs if not run.older]
    for run in readable:
        run.say_unread()
    return readable


def read_entries(runs: Iterable[Run]) -> list[Entry]:
    """The results of `runs`, each stage once: from the last run that has it."""
    entries: dict[str, Entry] = {}
    for run in runs:
        for entry in run.entries:
            identity = f"{entry.key} {entry.fields}"
            entries.pop(identity, None)
            entries[identity] = entry
    return list(entries.values())
