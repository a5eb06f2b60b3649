"""The memory of a plan's stages beside that of the device: a table for `w2s plan`, and lines for stages that do not fit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from w2s_cli.pipeline.cost import planned_amounts
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.memory import GIB, Memory, Setup, need, setup_of, shape_of, spread_out, ways_out
from w2s_cli.pipeline.shapes import Shape
from w2s_cli.pipeline.states import Planned
from w2s_cli.run.device_memory import Device, devices_of, on_gpus
from w2s_cli.run.devices import used
from w2s_cli.run.resources import in_parts, processes_of

UNKNOWN = "the memory of the device is unknown here (launcher.gpu_memory_gb, or launcher.memory_gb of a job without a GPU, tells it)"
MOST_WAYS = 4
BILLION, MILLION = 1e9, 1e6


class Needed(NamedTuple):
    """What one stage needs."""

    stage: Stage
    shape: Shape
    setup: Setup
    memory: Memory  # of each of its processes

    def with_its_readers(self, setup: Setup) -> float:
        """The bytes with another setup, and if it makes adapters, at least those of a stage that reads them."""
        size = self.on_device(setup)
        if not setup.adapters or self.setup.adapters:
            return size
        reading = replace(
            setup, trains=False, adapters=0, four_bits=False, checkpointing=False, merges=setup.pretrained
        )
        return max(size, self.on_device(reading))

    def on_device(self, setup: Setup | None = None) -> float:
        """Bytes on a device, which has one process if it is a GPU, and all of the stage's if it is this machine; with another setup."""
        total = need(self.shape, setup).total if setup else self.memory.total
        return total if self.setup.gpu else total * self.setup.processes


def needed(graph: Graph, keys: Iterable[str]) -> list[Needed]:
    """What the stages `keys` need, those with a model of known size."""
    amounts_of = planned_amounts(graph)
    launcher: Mapping[str, Any] = graph.jobs[0].config["launcher"]
    with_model = [stage for stage in map(graph.stages.__getitem__, keys) if stage.about.get("model") is not None]
    needs = []
    for stage, gpu in zip(with_model, on_gpus(launcher, with_model), strict=True):
        shape = shape_of(stage, graph)
        if shape is not None:
            amounts, processes = amounts_of(stage, shape.parameters), processes_of(stage, launcher)
            fsdp = in_parts(stage, launcher)
            setup = setup_of(stage, graph, launcher, amounts, gpu=gpu, processes=processes, fsdp=fsdp)
            needs.append(Needed(stage, shape, setup, need(shape, setup)))
    return needs


def table(graph: Graph, plans: Mapping[str, Planned]) -> tuple[list[list[str]], list[str]]:
    """(rows to print, notes): the memory of every stage with a model; equal rows once."""
    launcher = graph.jobs[0].config["launcher"]
    devices: dict[str, dict[str, None]] = {}  # what a device has → names of its stages
    header = [
        "memory, GiB",
        "model",
        "parameters",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "tokens",
        "total",
    ]
    rows: dict[tuple[str, ...], None] = {}
    assumed: dict[str, None] = {}  # models whose type decides a figure, and is not known
    shared: dict[int, dict[str, None]] = {}  # processes → names of stages
    needs = needed(graph, plans)
    for one, device in zip(needs, devices_of(launcher, [one.stage for one in needs]), strict=True):
        shared.setdefault(one.setup.processes, {})[one.stage.name] = None
        memory = one.memory
        parts = (memory.weights, memory.gradients, memory.optimizer, memory.activations)
        tokens = "" if one.setup.probe else f"{one.setup.tokens:,}"
        about = one.stage.about
        of_base = one.setup.precision == "bf16" and (one.setup.adapters or one.setup.merges)
        if of_base and not isinstance(about.get("shape"), Shape):
            assumed[str(about["model"])] = None
        row = (one.stage.name, str(about["model"]), _count(one.shape.parameters), *map(_gib, parts), tokens)
        rows[(*row, _gib(one.on_device()))] = None
        devices.setdefault(_has(device) if device else UNKNOWN, {})[one.stage.name] = None
    notes = ["estimates; a total has the worker itself too (docs/large.md says how near they are)"]
    on_gpus = {one.stage.name for one in needs if one.setup.gpu}
    for processes, names in sorted(shared.items()):
        if processes > 1:
            end = "which have a GPU each" if on_gpus >= set(names) else "and the total is of all"
            of = "" if len(shared) == 1 else f"{', '.join(names)}: "
            notes.append(f"{of}of one of {processes} processes, {end}")
    if assumed:
        notes.append(
            f"checkpoints in fp32 are assumed for {', '.join(assumed)}; in bf16 they take less (docs/large.md)"
        )
    notes += [has if len(devices) == 1 else f"{', '.join(names)}: {has}" for has, names in devices.items()]
    return [header, *map(list, rows)], notes


def too_large(graph: Graph, plans: Mapping[str, Planned]) -> list[str]:
    """A line for every stage to run that the device has no room for, with what would help; stages of equal needs in one line."""
    to_run = [key for key, plan in plans.items() if plan.to_run]
    stages = needed(graph, to_run)
    if not stages or max(one.on_device() for one in stages) < GIB:
        return []  # the device need not be asked
    config = graph.jobs[0].config
    names: dict[tuple[str, Memory, Setup, Device], dict[str, Needed]] = {}
    for one, device in zip(stages, devices_of(config["launcher"], [one.stage for one in stages]), strict=True):
        if device is not None and one.on_device() > device.free:
            names.setdefault((str(one.stage.about["model"]), one.memory, one.setup, device), {})[one.stage.name] = one
    devices = len(used(config["launcher"]))
    return [_line(alike, device, devices, config) for (*_, device), alike in names.items()]


def _line(alike: Mapping[str, Needed], device: Device, devices: int, config: Mapping[str, Any]) -> str:
    """The caution for stages of equal needs; `devices`: the number of GPUs that they may have."""
    names, one = ", ".join(alike), next(iter(alike.values()))
    figures = asdict(one.memory)
    parts = ", ".join(f"{name} {_gib(figures[name])}" for name in ("weights", "gradients", "optimizer", "activations"))
    verb = "needs" if len(alike) == 1 else "need"
    needs = f"{names} ({one.stage.about['model']}) {verb} about {_gib(one.on_device())} GiB"
    return f"Caution: {needs} ({parts}), and {_has(device)}. {_advice(alike, device, devices, config)}"


def _advice(alike: Mapping[str, Needed], device: Device, devices: int, config: Mapping[str, Any]) -> str:
    """What would help: the changes that are enough by themselves, else those that help most."""
    one = next(iter(alike.values()))
    before = one.on_device()
    group = "weak" if one.stage.about["model"] == config["weak"]["name"] else "strong"
    ways = ways_out(one.setup, group, _training(one))
    sizes = [(words, one.with_its_readers(change(one.setup))) for words, change in ways]
    spread = spread_out(one.setup, devices, lambda setup: one.on_device(setup) <= device.free)
    if spread is not None:
        names = dict.fromkeys(str(other.stage.about.get("role") or other.stage.name) for other in alike.values())
        of = f"'{{processes: {spread.processes}, fsdp: true}}'"
        sizes.insert(0, (" ".join(f"launcher.resources.{name}={of}" for name in names), one.on_device(spread)))
    enough = [(words, size) for words, size in sizes if size <= device.free]
    helping = enough or sorted([(words, size) for words, size in sizes if size < 0.95 * before], key=_size)
    told = ", ".join(f"{words} (about {_gib(size)} GiB)" for words, size in helping[:MOST_WAYS])
    if enough:
        return f"What would fit: {told}."
    others = [told] if told else []
    if one.setup.gpu and one.setup.trains and not one.setup.in_parts:
        others.append("more GPUs (launcher.processes and launcher.fsdp=true)")
    if not one.setup.gpu and one.setup.processes > 1:
        others.append("fewer processes (launcher.processes)")
    return f"What helps: {', or '.join([*others, 'a smaller model'])}."


def _training(one: Needed) -> str:
    """The group of the configuration that has the settings of a stage's training."""
    if "architecture" in one.stage.identity["params"]:
        return "pretrain"
    if "pairs" in one.stage.inputs:
        return "preference"
    return "tune" if one.setup.words else "train"


_size: Callable[[tuple[str, float]], float] = lambda way: way[1]  # noqa: E731 - the key of a sort


def _has(device: Device) -> str:
    return f"{device.name} has {_gib(device.free)} of {_gib(device.total)} GiB free"


def _gib(count: float) -> str:
    value = count / GIB
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _count(parameters: float) -> str:
    return f"{parameters / BILLION:.2f} B" if parameters >= 0.9995 * BILLION else f"{parameters / MILLION:.3g} M"
