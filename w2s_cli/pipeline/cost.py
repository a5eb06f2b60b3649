"""The cost of a plan: trainings, tokens, FLOPs and hours, from measured sizes; every assumption is printed as a note.

* Rows: the count of a finished pool, else the pool's limit or its share of the data set's expected size.
* Tokens per row: the count of a finished training on the same rows or the same data set, else the expected number of the data set's
  recipe (expected.tokens), else TOKENS_ASSUMED with a note. Never more than max_length.
* FLOPs: the kind's `cost` (stages/<kind>.py), from measured or expected parameters and tokens.
* Hours: FLOPs divided by the user's rate (--rate), else by the measured rate of this machine: of finished trainings of the same model, or
  of a model at most twice as large or small. Without any of these the hours are unknown. No rate of a device is assumed.
"""

import math
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from w2s_cli.paths import configs_folder, read_mapping
from w2s_cli.pipeline.contract import Amounts, Work
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.kinds import Kind, find, kind_names
from w2s_cli.pipeline.shapes import Shape
from w2s_cli.store.shapes import fits, read_manifest, read_own_job, read_record
from w2s_cli.store.store import Store

TOKENS_ASSUMED = 200
ROWS_ASSUMED = 10_000  # of a data set of unknown size, where only the proportions of stages matter
CLOSE = 2.0  # a measured rate is used for models up to this factor larger or smaller
TERA = 1e12


@dataclass
class Cost:
    """Sums over stages."""

    trainings: int = 0
    tokens: float = 0.0  # trained on, over all epochs
    flops: float = 0.0
    seconds: float = 0.0  # of stages with a rate
    unrated: float = 0.0  # FLOPs of stages without a rate
    bytes: float = 0.0  # of weights on the disk
    written: float = 0.0  # tokens of texts, at most


@dataclass
class Facts:
    """Sizes of a graph's models and data, and training rates of this machine."""

    graph: Graph
    sizes: dict[str, float]  # model → parameters
    active: dict[str, float]  # model → parameters that one token goes through, of mixtures of experts
    tokens: dict[str, float]  # rows stage, or name of a data set → mean tokens of a row
    rows: dict[str, int]  # rows stage → rows
    rates: dict[str, float]  # model → FLOP/s
    rate: float | None  # FLOP/s of the command line
    assumed: set[str] = field(default_factory=set)  # notes under the estimate
    unmeasured: set[str] = field(default_factory=set)  # data sets without a count of tokens


def facts(graph: Graph, store: Store, rate: float | None) -> Facts:
    """Look up the sizes and rates for the estimate of `graph`; `rate` in TFLOPS."""
    models = {name: model for job in graph.jobs for name, model in _models(job.config).items()}
    sizes, active = (
        {name: model[field] * 1e6 for name, model in models.items() if model.get(field)}
        for field in ("parameters", "active_parameters")
    )
    for stage in graph.stages.values():
        shape = stage.about.get("shape")
        if isinstance(shape, Shape):  # of a model whose YAML does not say
            sizes.setdefault(str(stage.about["model"]), shape.parameters)
            if shape.active < shape.parameters:
                active.setdefault(str(stage.about["model"]), shape.active)
    result = Facts(graph, sizes, active, {}, {}, _rates(store, sizes), rate * TERA if rate else None)
    for key, stage in graph.stages.items():
        if stage.of.traits.gives == "rows":
            result.rows[key] = _count(key, stage, store, result)
    for folder, _ in _finished(store):
        metrics, inputs = _metrics(folder), (read_own_job(folder) or {}).get("inputs", {})
        if {"texts", "pairs"} & set(inputs):  # its tokens are those of completions too
            continue
        rows = inputs.get("rows")
        if isinstance(rows, str) and rows in result.rows and fits(metrics, _Counted):
            for name in (rows, graph.stages[rows].about["data"]):
                result.tokens[name] = metrics["tokens"] / metrics["rows"]
    return result


def estimate(facts: Facts, keys: Collection[str]) -> Cost:
    """The cost of the stages `keys`."""
    total = Cost()
    for key in keys:
        stage = facts.graph.stages[key]
        work = _work(stage, facts)
        total.flops += work.flops
        total.tokens += work.tokens
        total.bytes += work.bytes
        total.written += work.written
        total.trainings += stage.of.traits.trains
        speed = _speed(stage, facts)
        if speed:
            total.seconds += work.flops / speed
        else:
            total.unrated += work.flops
    return total


def planned_amounts(graph: Graph) -> Callable[[Stage, float], Amounts]:
    """(stage, parameters of its model) → its sizes, from the plan alone: the same before, during and after a run."""
    planned = Facts(graph, {}, {}, {}, {}, {}, None)
    for key, stage in graph.stages.items():
        if stage.of.traits.gives == "rows":
            planned.rows[key] = max(1, _expected_count(stage, planned, ROWS_ASSUMED))
    return lambda stage, parameters: _Amounts(stage, planned, parameters)


@dataclass(frozen=True)
class _Amounts:
    """The sizes of one stage's inputs and model, for its kind's `cost`."""

    stage: Stage
    facts: Facts
    parameters: float

    def tokens(self, edge: str) -> float:
        return _tokens(self.stage, edge, self.facts)

    def rows(self, edge: str) -> int:
        return self.facts.rows[str(self.stage.inputs[edge])]

    def texts(self, edge: str) -> int:
        return _texts(self.facts.graph, str(self.stage.inputs[edge]))

    def has(self, edge: str) -> bool:
        return edge in self.stage.inputs


def _work(stage: Stage, facts: Facts) -> Work:
    """The work of one stage."""
    model, cost = stage.about.get("model"), stage.of.optional("cost")
    if cost is None:
        return Work()
    if model not in facts.sizes:
        facts.assumed.add(f"the size of {model} is unknown (its YAML has no parameters:); its work is not counted")
        return Work()
    params, size = stage.identity["params"], facts.sizes[model]
    work: Work = cost(params, _Amounts(stage, facts, size))
    if facts.active.get(model, size) == size:
        return work
    through: Work = cost(params, _Amounts(stage, facts, facts.active[model]))
    return replace(work, flops=through.flops)


def _tokens(stage: Stage, edge: str, facts: Facts) -> float:
    """Tokens of a pool after the stage's cut to max_length."""
    rows = str(stage.inputs[edge])
    pool = facts.graph.stages[rows]
    data = str(pool.about["data"])
    expected = (pool.execution.get("expected") or {}).get("tokens")
    per_row = facts.tokens.get(rows) or facts.tokens.get(data) or expected
    if not per_row:
        per_row = TOKENS_ASSUMED
        facts.unmeasured.add(data)
    texts = 2 if pool.identity["params"].get("second") else 1  # each text of a pair is cut by itself
    return facts.rows[rows] * float(min(per_row, texts * (stage.identity["params"].get("max_length") or per_row)))


def _texts(graph: Graph, key: str) -> int:
    """Texts of a row of a stage, at most: its samples, or all from which it chooses; one where it neither writes nor chooses."""
    stage = graph.stages[key]
    if "samples" in stage.identity["params"]:
        return int(stage.identity["params"]["samples"])
    sources = stage.inputs.get("texts", [])
    return sum(_texts(graph, source) for source in (sources if isinstance(sources, list) else [sources])) or 1


def _count(key: str, stage: Stage, store: Store, facts: Facts) -> int:
    """Number of rows of a pool, counted or expected."""
    folder = store.folder(key)
    metrics = _metrics(folder) if folder and (folder / "record.json").exists() else {}
    return int(metrics["rows"]) if fits(metrics, _Pool) else _expected_count(stage, facts)


def _expected_count(stage: Stage, facts: Facts, unknown: int | None = None) -> int:
    """Number of rows of a pool by its recipe; a data set of unknown size has `unknown` rows, or for None as many as its limit."""
    params, expected = stage.identity["params"], stage.execution.get("expected") or {}
    share = params["share"] or [0.0, 1.0]
    split = "test" if stage.about["rows"] == "test" and expected.get("test") else "train"
    expected_rows = expected.get(split, unknown)
    limit = params["limit"]
    if expected_rows is None:
        instead = "its limits are used" if limit else "its rows are not counted"
        facts.assumed.add(f"the size of {stage.about['data']} is unknown; {instead}")
        return int(limit or 0)
    if split == "train":
        expected_rows = expected_rows * (share[1] - share[0])
    return int(min(expected_rows, limit) if limit else expected_rows)


def _speed(stage: Stage, facts: Facts) -> float | None:
    """FLOP/s of a stage on this machine; None if no rate applies."""
    if facts.rate:
        return facts.rate
    model = str(stage.about.get("model"))
    if model in facts.rates:
        return facts.rates[model]
    size = facts.sizes.get(model)
    similar = [name for name in facts.rates if size and 1 / CLOSE <= facts.sizes[name] / size <= CLOSE]
    if not similar:
        return None
    nearest = min(similar, key=lambda name: abs(math.log(facts.sizes[name] / (size or 1))))
    facts.assumed.add(f"the rate of {model} is assumed to be the measured rate of {nearest}")
    return facts.rates[nearest]


def _rates(store: Store, sizes: dict[str, float]) -> dict[str, float]:
    """Model → FLOP/s of its finished trainings on this machine: the sum of FLOPs over the sum of seconds."""
    flops: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for folder, kind in _finished(store):
        record = read_record(folder) or {}
        if record.get("provenance", {}).get("host") != socket.gethostname() or not fits(record, _Rated):
            continue
        measured, model = record["measured"], record["execution"]["model_name"]
        of_token, size = kind.optional("flops_per_token"), sizes.get(model) or _size(model)
        job = read_own_job(folder)
        per_token = of_token(job["params"]) if of_token and size and job else 0
        if per_token:
            sizes[model] = size
            flops[model] = flops.get(model, 0.0) + per_token * size * measured["tokens"]
            seconds[model] = seconds.get(model, 0.0) + measured["train_seconds"]
    return {model: flops[model] / seconds[model] for model in flops if seconds[model] > 0}


def _size(model: str) -> float:
    """Parameters of a model of configs/model that is not in this graph; 0 without such a file."""
    path = configs_folder() / "model" / f"{model}.yaml"
    return float((read_mapping(path).get("parameters") or 0) * 1e6) if path.is_file() else 0.0


def _models(config: Mapping[str, Any]) -> dict[str, Any]:
    members = config["ensemble"] if isinstance(config["ensemble"], list) else []
    return {model["name"]: model for model in (config["weak"], config["strong"], *config["ladder"], *members)}


class _Pool(TypedDict):
    """Metrics of a stage that has counted its rows."""

    rows: Annotated[int, lambda rows: rows > 0]


class _Counted(_Pool):
    """Metrics of a training that has counted its tokens."""

    tokens: float


class _Measured(TypedDict):
    """Measurements of a training with a rate."""

    tokens_per_second: float
    tokens: float
    train_seconds: float


class _Opened(TypedDict):
    """Settings of a worker that opened a model."""

    model_name: str


class _Rated(TypedDict):
    """Record of a training with a rate."""

    measured: _Measured
    execution: _Opened


def _finished(store: Store) -> list[tuple[Path, Kind]]:
    """(folder, kind) of every finished training of a kind of this package."""
    names = {folder.parent.name for folder in store.folders().values()} & set(kind_names())
    trained = {name: kind for name in names if (kind := find(name)).traits.trains}
    return [
        (folder, trained[folder.parent.name])
        for folder in store.folders().values()
        if folder.parent.name in trained and (folder / "record.json").exists()
    ]


def _metrics(folder: Path) -> dict[str, Any]:
    """The metrics of a finished stage; {} if they cannot be read."""
    metrics: dict[str, Any] = (read_manifest(folder) or {}).get("metrics", {})
    return metrics


def table(everything: Cost, left: Cost, facts: Facts, *, option: bool) -> tuple[list[list[str]], list[str]]:
    """(rows to print, notes) for the whole plan and for its stages to run; `option`: the command has --rate."""
    rows = [["estimated cost", "whole", "to run"]]
    rows.append(["trainings", str(everything.trainings), str(left.trainings)])
    rows.append(["tokens trained on", _short(everything.tokens), _short(left.tokens)])
    if everything.written:
        rows.append(["tokens written, at most", _short(everything.written), _short(left.written)])
    rows.append(["FLOPs", f"{everything.flops:.2g}", f"{left.flops:.2g}"])
    rows.append(["hours", _hours(everything), _hours(left)])
    rows.append(["disk for weights", *(f"{cost.bytes / 1e9:.3g} GB" for cost in (everything, left))])
    notes = sorted(facts.assumed)
    if facts.unmeasured:
        notes.append(f"{TOKENS_ASSUMED} tokens per row are assumed for {', '.join(sorted(facts.unmeasured))}")
    if facts.rate:
        notes.append(f"hours on one device with {facts.rate / TERA:g} TFLOPS (--rate)")
    elif everything.unrated:
        measured = ", ".join(f"{model} {rate / TERA:.3g}" for model, rate in sorted(facts.rates.items()))
        advice = "; set --rate TFLOPS, the rate of your device in training" if option else ""
        notes.append(
            f"unknown rate: no training of this size in this outputs folder was made on this machine{advice}"
            + (f" (measured here, TFLOPS: {measured})" if measured else "")
        )
    elif everything.flops:
        notes.append("hours at the rates of this outputs folder's trainings on this machine, one stage at a time")
    return rows, notes


def _hours(cost: Cost) -> str:
    if not cost.flops:
        return "0"
    if cost.unrated == cost.flops:
        return "unknown"
    hours = f"{cost.seconds / 3600:.2f}"
    return f"{hours} and unknown ({100 * cost.unrated / cost.flops:.0f} % of the FLOPs)" if cost.unrated else hours


def _short(value: float) -> str:
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f}"
