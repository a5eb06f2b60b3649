"""The results of runs and sweeps as a list of entries, and any field of an entry or of its configuration by name.

* results.json names what was compared, plan.json the stages behind it, config.yaml (one document per job) everything else. Configurations
  are parsed only when a dotted field asks for them: a sweep's config.yaml takes seconds to parse, and its blocks can be compared as text.
* Fields are taken as they come: whatever `w2s_cli.results.runs` writes into an entry can be a row, a column or a filter.
* The same stage named by several runs is one entry, the one that was written last.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.runs import setting
from w2s_cli.store.files import read_json

NOT_FIELDS = ("metrics", "key", "stage", "seeds", "job")  # of an entry: what identifies it, not what was set


class Run:
    """One folder of outputs/runs or outputs/sweeps, read as far as it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def texts(self) -> list[str]:
        """config.yaml, a text per job."""
        try:
            written = (self.folder / "config.yaml").read_text(encoding="utf-8")
        except OSError:
            return []
        return [text for text in re.split(r"^---\s*$", written, flags=re.MULTILINE) if text.strip()]

    @cached_property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Stage key → its inputs, of the stages that compare."""
        plan = read_json(self.folder / "plan.json") or []
        return {stage["key"]: stage["inputs"] for stage in plan if stage["kind"] in ("evaluate", "summary")}

    @cached_property
    def _parsed(self) -> dict[int, dict[str, Any]]:
        return {}

    def config(self, job: int) -> dict[str, Any]:
        """The configuration of one job; {} where the folder has none."""
        if job not in self._parsed:
            self._parsed[job] = read_yaml(self.texts[job]) if job < len(self.texts) else {}
        return self._parsed[job]


@dataclass(frozen=True)
class Entry:
    """One evaluate or summary stage of one run."""

    fields: dict[str, Any]  # weak, strong, data, method, loss, …
    stage: str
    key: str
    seeds: list[int]
    metrics: dict[str, Any]
    run: Run = field(repr=False, compare=False)
    job: int = 0  # document of config.yaml; of a summary: its first seed's

    @property
    def inputs(self) -> dict[str, Any]:
        """Of its stage: role → key of the labels compared; of a summary: runs → keys."""
        return self.run.inputs.get(self.key, {})

    @property
    def config(self) -> dict[str, Any]:
        return self.run.config(self.job)

    @cached_property
    def blocks(self) -> dict[str, str]:
        """Top-level field of its configuration → its text, unparsed."""
        texts = self.run.texts
        pieces = re.split(r"^(?=[^\s-])", texts[self.job], flags=re.MULTILINE) if self.job < len(texts) else []
        return {piece.partition(":")[0]: piece for piece in pieces if piece.strip()}


def read_yaml(text: str) -> dict[str, Any]:
    """A YAML mapping, by the parser in C where there is one."""
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def find_folders(root: Path, names: Sequence[str] = ()) -> list[Path]:
    """The run and sweep folders of `root` that have results, oldest first; only those that `names` name: a path, or a part of one.

    Raises:
        UserError: a name that no folder has.
    """
    every = sorted(path.parent for kind in ("runs", "sweeps") for path in root.glob(f"{kind}/*/*/results.json"))
    every.sort(key=lambda folder: (folder / "results.json").stat().st_mtime_ns)
    if not names:
        return every
    chosen: list[Path] = []
    for name in names:
        given, part = Path(name).expanduser().absolute(), name.rstrip("/")
        found = [given] if (given / "results.json").is_file() else [p for p in every if given in p.parents]
        found = found or [p for p in every if part in p.relative_to(root).as_posix()]
        if not found:
            raise UserError(f'{root}: no finished run or sweep is called "{name}".{_latest(every)}')
        chosen += found
    return list(dict.fromkeys(chosen))


def _latest(folders: Sequence[Path]) -> str:
    if not folders:
        return " There are none yet; w2s train makes one."
    return " The latest: " + ", ".join(folder.name for folder in folders[-4:]) + "."


def read_entries(folders: Iterable[Path]) -> list[Entry]:
    """The entries of these folders, each stage once (of two runs that name it, the later counts)."""
    found: dict[str, Entry] = {}
    for folder in folders:
        written = read_json(folder / "results.json")
        if not isinstance(written, list):
            continue
        run = Run(folder)
        for entry, job in zip(written, _jobs(written, run), strict=True):
            fields = {name: value for name, value in entry.items() if name not in NOT_FIELDS}
            seeds = list(entry.get("seeds") or [])
            made = Entry(fields, entry["stage"], entry["key"], seeds, entry.get("metrics") or {}, run, job)
            identity = f"{made.key} {fields}"
            found.pop(identity, None)
            found[identity] = made
    return list(found.values())


def _jobs(written: list[dict[str, Any]], run: Run) -> list[int]:
    """Which document of config.yaml each entry belongs to.

    Entries stand in the order of the jobs. Where each job has one, its number is the place; else (jobs that did not finish, methods
    that compare twice) jobs are matched by models, data, loss, seed and the names of their evaluate stages.
    """
    if all("job" in entry for entry in written):
        return [int(entry["job"]) for entry in written]
    singles = [place for place, entry in enumerate(written) if entry["stage"] != "summary"]
    places = dict(zip(singles, range(len(singles)), strict=True))
    if len(singles) != len(run.texts):
        places, job, used = {}, 0, set[str]()
        for place in singles:
            while job < len(run.texts) - 1 and (
                written[place]["stage"] in used or not _belongs(written[place], run.config(job))
            ):
                job, used = job + 1, set()
            places[place] = job
            used.add(written[place]["stage"])
    by_key = {written[place]["key"]: job for place, job in places.items()}
    for place, entry in enumerate(written):
        if place not in places:
            runs = run.inputs.get(entry["key"], {}).get("runs") or [None]
            places[place] = by_key.get(runs[0], 0)
    return [places[place] for place in range(len(written))]


def _belongs(entry: dict[str, Any], config: dict[str, Any]) -> bool:
    names = {"strong": config["strong"]["name"], "data": config["data"]["name"], "loss": config["loss"]["name"]}
    names["method"] = config["method"]["name"]
    return config["seed"] in entry["seeds"] and all(entry.get(name) == value for name, value in names.items())


def value_of(entry: Entry, name: str) -> Any:
    """A field of an entry, or of its configuration by its dotted name ("strong.lr"); None where it has none."""
    if name in entry.fields:
        return entry.fields[name]
    if name == "seed" and len(entry.seeds) == 1:
        return entry.seeds[0]
    if name == "setting":
        return setting(entry.fields)
    value: Any = entry.config
    for part in name.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):  # a model of a ladder
            value = value[int(part)]
            continue
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value["name"] if isinstance(value, dict) and "name" in value else value


def check_field(entries: Sequence[Entry], name: str) -> None:
    """UserError if no entry and no configuration has such a field."""
    if name in ("seed", "setting") or any(name in entry.fields for entry in entries):
        return
    configs = {(entry.run.folder, entry.job): entry for entry in entries}
    if any(_has(entry.config, name.split(".")) for entry in configs.values()):
        return
    known = {field for entry in entries for field in entry.fields}
    dotted = {field for entry in entries[:1] for field, _ in flatten(entry.config) if not field.startswith("method.")}
    hint = did_you_mean(name, dotted if "." in name else known)
    raise UserError(
        f'no result has a field "{name}".{hint} Any field of a configuration will do by its dotted name, such as strong.lr.'
    )


def _has(value: Any, parts: Sequence[str]) -> bool:
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def flatten(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted name, value) of everything in nested dictionaries; an empty one is a value."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def spelled(text: str) -> str:
    """A word of the command line as `said` writes the value: 1e-5 and 0.00001 are one number."""
    return (
        f"{float(text):g}" if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text, flags=re.IGNORECASE) else text
    )


def said(value: Any) -> str:
    """A field's value in a table: text as it is, numbers short, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(said(item) for item in value)
    return str(value)
