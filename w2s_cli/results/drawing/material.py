"""What figures and reports are made from: one run's or sweep's files, as far as they are there.

* A run's folder names its stages by key; the stages are the truth and are read where they lie. Nothing here hashes or writes.
* Whatever is missing or cut short reads as nothing: a report of a broken run says what is missing, it does not fail.
* How many parameters a model has is asked of its configuration, else counted in the headers of the safetensors files.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.store.files import read_json
from w2s_cli.store.store import Store

Entry = dict[str, Any]  # of results.json
SETTINGS = ("method", "loss", "train", "seeds")
FIELDS = {
    "stage",
    "key",
    "weak",
    "strong",
    "data",
    "method",
    "loss",
    "seeds",
    "metrics",
}  # of an entry that can be shown
FILES = ("config.yaml", "plan.json", "results.json")
HEADER_LIMIT = 100_000_000  # bytes; a longer header is no safetensors file


class NoDataError(UserError):
    """The run lacks what a figure shows; the message says what, and which command would give it."""


@dataclass(frozen=True)
class Material:
    """One run or sweep."""

    folder: Path
    store: Store
    results: list[Entry] = field(default_factory=list)  # results.json
    configs: list[dict[str, Any]] = field(default_factory=list)  # config.yaml, one per job
    plan: list[dict[str, Any]] = field(default_factory=list)  # plan.json
    missing: list[str] = field(default_factory=list)  # what could not be read, in words

    @property
    def entries(self) -> list[Entry]:
        """The settings: summaries over seeds where there are some, else single runs."""
        summaries = [entry for entry in self.results if entry["stage"] == "summary"]
        return summaries or self.results

    def stage(self, key: str) -> dict[str, Any]:
        """stage.json of a stage; {} where there is none."""
        folder = self.store.folder(key)
        found = read_json(folder / "stage.json") if folder else None
        return found if isinstance(found, dict) else {}

    def result(self, key: str) -> Path | None:
        """The result folder of a finished stage."""
        folder = self.store.folder(key)
        return folder / "result" if folder and (folder / "record.json").exists() else None

    def evaluations(self, entry: Entry) -> list[str]:
        """Keys of the evaluate stages of an entry: itself, or those that a summary is of."""
        inputs = self.stage(entry["key"]).get("inputs", {})
        runs: list[str] = inputs.get("runs", [])
        return runs if entry["stage"] == "summary" else [entry["key"]]

    def trained(self, entry: Entry, role: str) -> str | None:
        """Key of the training stage that made an entry's role, found by walking up from its evaluation."""
        keys = self.evaluations(entry)
        key = self.stage(keys[0]).get("inputs", {}).get(role) if keys else None
        for _ in range(len(self.plan) + 2):  # no longer than the graph, even if files were edited into a circle
            job = self.stage(key) if isinstance(key, str) else {}
            if job.get("kind") in ("finetune", "boost", None):
                return key if job else None
            inputs = job.get("inputs") or {}
            key = inputs.get("model") or next(iter(inputs.values()), None)
        return None


def read(folder: Path, store: Store) -> Material:
    """What a run's folder says; see the module."""
    missing = []
    found = {}
    for name, kind in (("plan.json", "stages"), ("results.json", "figures")):
        value = read_json(folder / name)
        if not isinstance(value, list) or not all(isinstance(entry, dict) and "key" in entry for entry in value):
            missing.append(f"{name} is missing or cut short: the {kind} of this run are not known")
            value = []
        found[name] = value
    configs = read_configs(folder / "config.yaml")
    if not configs:
        missing.append("config.yaml is missing or cut short: the settings of this run are not known")
    if not found["results.json"] and not any("results.json" in line for line in missing):
        missing.append("no evaluation has finished: there are no figures yet")
    results = [
        {"train": "full", **entry} for entry in found["results.json"] if set(entry) >= FIELDS and entry["metrics"]
    ]
    return Material(folder, store, results, configs, found["plan.json"], missing)


def read_configs(path: Path) -> list[dict[str, Any]]:
    """The documents of config.yaml; [] if it cannot be read."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return [config for config in yaml.load_all(text, Loader=yaml.CSafeLoader) if isinstance(config, dict)]
    except (OSError, ValueError, yaml.YAMLError):
        return []


def has_theory(folder: Path) -> bool:
    """Whether a run plans theory stages, which compare nothing and leave results.json empty."""
    return any(stage.get("kind") == "theory" for stage in read_json(folder / "plan.json") or ())


def find_run(store: Store, name: str | None, needed: str | None = None, *, theory: bool = False) -> Path:
    """The newest run or sweep whose folder has `name` in it, and holds the file `needed`; `theory`: or theory stages, these first.

    Raises:
        UserError: there is none.
    """
    found = [path for kind in ("runs", "sweeps") for path in (store.root / kind).glob("*/*") if path.is_dir()]
    if name:
        exact = Path(name).expanduser().absolute()
        whole = [path for path in found if path.absolute() == exact]
        found = whole or [path for path in found if name.rstrip("/") in str(path)]
    there = [path for path in found if needed is None or read_json(path / needed) or (theory and has_theory(path))]
    if theory and not name:
        there = [path for path in there if has_theory(path)] or there
    if found and not there:
        raise UserError(
            f"{found[-1]} has no results yet: w2s status shows what is left, and the same w2s train command goes on with it."
        )
    if not there:
        raise UserError(
            f"{store.root}: no run {name or 'yet'}; a run is named by its folder under runs/ or sweeps/, or a part of its name, "
            "and w2s train makes one."
        )
    return max(there, key=lambda path: (_written(path), path))


def _written(folder: Path) -> float:
    """When a command last wrote to a run's folder; figures and reports do not count."""
    times = [path.stat().st_mtime for name in FILES if (path := folder / name).is_file()]
    return max(times, default=folder.stat().st_mtime)


def said(entry: Entry, name: str) -> str:
    """A field of an entry in words."""
    if name != "seeds":  # "train" is not in results of the first version
        return str(entry.get(name, ""))
    seeds = entry["seeds"]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def differs(entries: Sequence[Entry], name: str) -> bool:
    """Whether the entries disagree in a field."""
    return len({said(entry, name) for entry in entries}) > 1


def heading(entries: Sequence[Entry]) -> str:
    """What the entries have in common, and how many models or data sets they have: '3 weak → 2 strong models on sciq (naive, seed 0)'."""
    shared = {
        name: "" if differs(entries, name) else said(entries[0], name) for name in ("weak", "strong", "data", *SETTINGS)
    }
    count = {name: len({said(entry, name) for entry in entries}) for name in shared}
    weak = shared["weak"] or f"{count['weak']} weak{' models' if shared['strong'] else ''}"
    strong = shared["strong"] or f"{count['strong']} strong models"
    words = [shared[name] for name in SETTINGS if shared[name] not in ("", "full")]
    data = shared["data"] or f"{count['data']} data sets"
    return f"{weak} → {strong} on {data}" + (f" ({', '.join(words)})" if words else "")


def group_names(entries: Sequence[Entry]) -> list[str]:
    """What tells each entry from the others: models, data, method, loss, mode, seeds; the key where these are the same."""
    differing = [name for name in ("data", *SETTINGS, "stage") if differs(entries, name)]
    pair = [name for name in ("weak", "strong") if differs(entries, name)]
    names = [
        ", ".join([" → ".join(e[name] for name in pair)] * bool(pair) + [said(e, name) for name in differing])
        for e in entries
    ]
    return [
        name if names.count(name) == 1 else f"{name} {entry['key']}".lstrip()
        for name, entry in zip(names, entries, strict=True)
    ]


def setting(entry: Entry, entries: Sequence[Entry]) -> str:
    """Method, loss and mode of an entry, as far as the entries differ in them; else its method and loss."""
    differing = [said(entry, name) for name in ("method", "loss", "train") if differs(entries, name)]
    return ", ".join(differing) or f"{entry['method']}, {entry['loss']}"


def parameters(material: Material, entry: Entry, role: str = "strong") -> float | None:
    """Parameters of an entry's weak or strong model; None where nothing says it."""
    for model in _models(material, role):
        if model.get("name") != entry[role]:
            continue
        if isinstance(model.get("parameters"), int | float):
            return float(model["parameters"]) * 1e6  # configurations say millions
        path = model.get("path")
        if path and len({m.get("path") for m in _models(material, role) if m.get("name") == entry[role]}) == 1:
            counted = _counted_at(str(path))
            if counted:
                return float(counted)
    key = material.trained(entry, "student" if role == "strong" else "weak")
    result = material.result(key) if key else None
    return float(count_parameters(result / "model")) or None if result else None


def flops(material: Material, entry: Entry) -> float | None:
    """Floating point operations of the student's training, 6 × parameters × tokens seen (Kaplan et al. 2020, section 2.1)."""
    size, key = parameters(material, entry), material.trained(entry, "student")
    result = material.result(key) if key else None
    metrics = ((read_json(result / "manifest.json") or {}) if result else {}).get("metrics", {})
    epochs = material.stage(key).get("params", {}).get("epochs") if key else None
    if size is None or not isinstance(metrics.get("tokens"), int | float) or not isinstance(epochs, int | float):
        return None
    return float(6 * size * metrics["tokens"] * epochs)


def _models(material: Material, role: str) -> Iterator[Mapping[str, Any]]:
    for config in material.configs:
        model = config.get(role)
        if isinstance(model, dict):
            yield model


def _counted_at(path: str) -> int:
    try:
        return count_parameters(locate(path))
    except UserError:  # the models that ship with w2s change
        return 0


def count_parameters(folder: Path) -> int:
    """Numbers in the safetensors files of a checkpoint, from their headers; 0 where there are none (or only an adapter's)."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        if path.name.startswith("adapter"):
            continue
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, HEADER_LIMIT)))
            total += sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            return 0
    return total
