"""What a plan costs: trainings, tokens, FLOPs and hours, from what is known and with every assumption said.

* Rows: of a finished pool as counted, else its limit or its share of the data set's expected size.
* Tokens a row: as a finished training on the same rows (or else the same data set) counted them, else what the data set's recipe expects
  (expected.tokens), else TOKENS_ASSUMED, which is said. Never more than the model reads (max_length).
* FLOPs: each kind says what its stages take (`cost` in stages/<kind>.py), from parameters and tokens that are measured or expected here.
* Hours: FLOPs over the rate of finished trainings of the same model, or of one at most twice as large or small, on this machine; else over
  a rate that the user gives; else they are unknown. No rate of a device is ever made up.
"""

import json
import math
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.paths import configs_folder
from w2s_cli.pipeline.contract import Work
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.kinds import Kind, find, kind_names
from w2s_cli.store.files import read_json, read_yaml
from w2s_cli.store.store import Store

TOKENS_ASSUMED = 200
CLOSE = 2.0  # a measured rate serves for models up to so many times larger or smaller
TERA = 1e12


@dataclass
class Cost:
    """Sums over stages."""

    trainings: int = 0
    tokens: float = 0.0  # trained on
    flops: float = 0.0
    seconds: float = 0.0  # of those whose rate is known
    unrated: float = 0.0  # FLOPs without a rate


@dataclass
class Facts:
    """What is known about a graph's models, data and this machine."""

    graph: Graph
    sizes: dict[str, float]  # model → parameters
    tokens: dict[str, float]  # rows stage, or name of a data set → mean tokens of a row
    rows: dict[str, int]  # rows stage → rows
    rates: dict[str, float]  # model → FLOP/s
    rate: float | None  # FLOP/s that the user gave
    assumed: set[str] = field(default_factory=set)  # what is said under the estimate
    unmeasured: set[str] = field(default_factory=set)  # data sets of which no stage has counted tokens


def facts(graph: Graph, store: Store, rate: float | None) -> Facts:
    """Look up what the estimate of `graph` needs; `rate` in TFLOPS."""
    sizes = {n: m["parameters"] * 1e6 for job in graph.jobs for n, m in _models(job.config).items() if m["parameters"]}
    known = Facts(graph, sizes, {}, {}, _rates(store, sizes), rate * TERA if rate else None)
    for key, stage in graph.stages.items():
        if stage.of.traits.gives == "rows":
            known.rows[key] = _count(key, stage, store, known)
    for folder, _ in _finished(store):
        counted, rows = _manifest(folder), (read_json(folder / "stage.json") or {}).get("inputs", {}).get("rows")
        if rows in known.rows and counted.get("tokens") and counted.get("rows"):
            for name in (rows, graph.stages[rows].about["data"]):
                known.tokens[name] = counted["tokens"] / counted["rows"]
    return known


def estimate(known: Facts, keys: Collection[str]) -> Cost:
    """The cost of the stages `keys`."""
    total = Cost()
    for key in keys:
        stage = known.graph.stages[key]
        work = _work(stage, known)
        total.flops += work.flops
        total.tokens += work.tokens
        total.trainings += stage.of.traits.trains
        speed = _speed(stage, known)
        if speed:
            total.seconds += work.flops / speed
        else:
            total.unrated += work.flops
    return total


@dataclass(frozen=True)
class _Amounts:
    """The sizes behind one stage, for its kind's `cost`."""

    stage: Stage
    known: Facts
    parameters: float

    def tokens(self, edge: str) -> float:
        return _tokens(self.stage, edge, self.known)

    def rows(self, edge: str) -> int:
        return self.known.rows[str(self.stage.inputs[edge])]

    def has(self, edge: str) -> bool:
        return edge in self.stage.inputs


def _work(stage: Stage, known: Facts) -> Work:
    """What one stage takes."""
    model, cost = stage.about.get("model"), stage.of.optional("cost")
    if cost is None:
        return Work()
    if model not in known.sizes:
        known.assumed.add(f"the size of {model} is not known (parameters: in its YAML); its work is not counted")
        return Work()
    work: Work = cost(stage.identity["params"], _Amounts(stage, known, known.sizes[model]))
    return work


def _tokens(stage: Stage, edge: str, known: Facts) -> float:
    """Tokens of a pool as this stage reads it."""
    rows = str(stage.inputs[edge])
    pool = known.graph.stages[rows]
    data = str(pool.about["data"])
    expected = (pool.execution.get("expected") or {}).get("tokens")
    each = next((found for found in (known.tokens.get(rows), known.tokens.get(data), expected) if found), None)
    if each is None:
        each = TOKENS_ASSUMED
        known.unmeasured.add(data)
    return known.rows[rows] * float(min(each, stage.identity["params"].get("max_length") or each))


def _count(key: str, stage: Stage, store: Store, known: Facts) -> int:
    """Rows of a pool."""
    folder = store.folder(key)
    counted = _manifest(folder).get("rows") if folder and (folder / "record.json").exists() else None
    if counted:
        return int(counted)
    params, expected = stage.identity["params"], stage.execution.get("expected") or {}
    share = params["share"] or [0.0, 1.0]
    split = "test" if stage.about["rows"] == "test" and expected.get("test") else "train"
    there = expected.get(split)
    limit = params["limit"]
    if there is None:
        instead = "its limits are taken" if limit else "its rows are not counted"
        known.assumed.add(f"the size of {stage.about['data']} is not known; {instead}")
        return int(limit or 0)
    if split == "train":
        there = there * (share[1] - share[0])
    return int(min(there, limit) if limit else there)


def _speed(stage: Stage, known: Facts) -> float | None:
    """FLOP/s at which this machine does a stage; None if nothing says."""
    if known.rate:
        return known.rate
    model = str(stage.about.get("model"))
    if model in known.rates:
        return known.rates[model]
    size = known.sizes.get(model)
    near = [name for name in known.rates if size and 1 / CLOSE <= known.sizes[name] / size <= CLOSE]
    if not near:
        return None
    nearest = min(near, key=lambda name: abs(math.log(known.sizes[name] / (size or 1))))
    known.assumed.add(f"{model} is taken to run at the rate measured of {nearest}")
    return known.rates[nearest]


def _rates(store: Store, sizes: dict[str, float]) -> dict[str, float]:
    """Model → FLOP/s of its finished trainings on this machine: all their FLOPs over all their seconds."""
    flops: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for folder, kind in _finished(store):
        record = read_json(folder / "record.json") or {}
        measured, model = record.get("measured", {}), record.get("execution", {}).get("model_name")
        if record.get("provenance", {}).get("host") != socket.gethostname() or not measured.get("tokens_per_second"):
            continue
        of_token, size = kind.optional("flops_per_token"), sizes.get(model) or _size(str(model))
        each = of_token((read_json(folder / "stage.json") or {}).get("params", {})) if of_token and size else 0
        if each:
            sizes[model] = size
            flops[model] = flops.get(model, 0.0) + each * size * measured["tokens"]
            seconds[model] = seconds.get(model, 0.0) + measured["train_seconds"]
    return {model: flops[model] / seconds[model] for model in flops if seconds[model] > 0}


def _size(model: str) -> float:
    """Parameters of a model of configs/model that this graph does not use; 0 if it is not there."""
    path = configs_folder() / "model" / f"{model}.yaml"
    return float((read_yaml(path.read_text(encoding="utf-8")).get("parameters") or 0) * 1e6) if path.is_file() else 0.0


def _models(config: Mapping[str, Any]) -> dict[str, Any]:
    members = config["ensemble"] if isinstance(config["ensemble"], list) else []
    return {model["name"]: model for model in (config["weak"], config["strong"], *config["ladder"], *members)}


def _finished(store: Store) -> list[tuple[Path, Kind]]:
    """(folder, kind) of every finished training of a kind that this package has."""
    names = {folder.parent.name for folder in store.folders().values()} & set(kind_names())
    trained = {name: kind for name in names if (kind := find(name)).traits.trains}
    return [
        (folder, trained[folder.parent.name])
        for folder in store.folders().values()
        if folder.parent.name in trained and (folder / "record.json").exists()
    ]


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "result" / "manifest.json").read_bytes())["metrics"]
    except (OSError, ValueError, KeyError):
        return {}
    return found


def table(everything: Cost, left: Cost, known: Facts) -> tuple[list[list[str]], list[str]]:
    """(rows to print, notes) of the whole plan and of what is still to be done."""
    rows = [["estimated cost", "whole", "to run"]]
    rows.append(["trainings", str(everything.trainings), str(left.trainings)])
    rows.append(["tokens trained on", _short(everything.tokens), _short(left.tokens)])
    rows.append(["FLOPs", f"{everything.flops:.2g}", f"{left.flops:.2g}"])
    rows.append(["hours", _hours(everything), _hours(left)])
    notes = sorted(known.assumed)
    if known.unmeasured:
        notes.append(f"{TOKENS_ASSUMED} tokens a row are assumed of {', '.join(sorted(known.unmeasured))}")
    if known.rate:
        notes.append(f"hours at the {known.rate / TERA:g} TFLOPS that --rate gives, of one device")
    elif everything.unrated:
        measured = ", ".join(f"{model} {rate / TERA:.3g}" for model, rate in sorted(known.rates.items()))
        notes.append(
            "unknown rate: nothing of this size has been trained on this machine; give --rate TFLOPS, what your device reaches in "
            "training" + (f" (measured here, TFLOPS: {measured})" if measured else "")
        )
    elif everything.flops:
        notes.append("hours at the rates of finished trainings on this machine, one stage at a time")
    return rows, notes


def _hours(cost: Cost) -> str:
    if not cost.flops:
        return "0"
    if cost.unrated == cost.flops:
        return "unknown"
    shown = f"{cost.seconds / 3600:.2f}"
    return f"{shown} and unknown ({100 * cost.unrated / cost.flops:.0f} % of the FLOPs)" if cost.unrated else shown


def _short(value: float) -> str:
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"
