"""The machine shared between stages: what each stage needs, and whether one more may start beside the running ones.

* Stages run side by side as long as their threads (`threads.py`) fit the cores and their memory fits what was free when nothing ran. One
  stage always may run. On GPUs each stage with a model has a GPU to itself (`devices.py`), and the cores are divided by the GPUs.
* The processes of a stage (`resources.py`) have a part of its threads each, and as much memory, or a GPU, each as one would have.
* Of stages that run elsewhere nothing is counted but their number; the machine of a worker chooses the threads.
* `launcher.jobs` and `launcher.threads` hold where the user sets them, and nothing is counted then that they say; with `jobs` alone the
  cores are divided.
* The cores are those of this process: its affinity, the quota of its control group, and OMP_NUM_THREADS, by which users of shared
  machines say how many they may use.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_cli.pipeline.cost import planned_amounts
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.memory import GIB, need, setup_of, shape_of
from w2s_cli.pipeline.shapes import of_size
from w2s_cli.run import launchers
from w2s_cli.run.devices import Devices, used
from w2s_cli.run.resources import in_parts, processes_of
from w2s_cli.run.threads import side_by_side, threads, works
from w2s_cli.store import memory

WITHOUT_MODEL = 0.2 * GIB  # bytes of a worker that opens no model


@dataclass(frozen=True)
class Need:
    """What a stage takes of the machine."""

    threads: int | None  # of each process; None: the machine of its worker chooses
    bytes: float  # of all processes
    processes: int = 1
    device: bool = False  # each process needs a GPU to itself


class Sharing:
    """The needs of a graph's stages, and the room for one more."""

    def __init__(self, graph: Graph, keys: Iterable[str], launcher: Mapping[str, Any]) -> None:
        self.here = bool(launchers.find(launcher["name"]).HERE)
        self.cores = cores() if self.here else None
        self.jobs: int | None = launcher["jobs"]
        names = used(launcher) if self.here else []
        self.devices = Devices(names, self.jobs) if names else None
        self.graph = graph
        self.needs = self._needs(keys, launcher)
        self.free: float | None = None  # bytes when nothing ran

    def _needs(self, keys: Iterable[str], launcher: Mapping[str, Any]) -> dict[str, Need]:
        """The needs of the stages `keys`; the threads are those that the user has chosen, if any."""
        together = {key: processes_of(self.graph.stages[key], launcher) for key in keys}
        wanted: int | None = launcher["threads"]
        if self.cores is None:
            return {key: Need(wanted, 0, count) for key, count in together.items()}
        amounts_of, gpu = planned_amounts(self.graph), self.devices is not None
        work = works(self.graph, self._parameters)
        upstream = {key: stage.upstream() for key, stage in self.graph.stages.items()}
        beside = side_by_side(upstream, {key: one.flops for key, one in work.items()})
        machine, needs = memory.machine_bytes(), {}
        for key, parts in together.items():
            stage = self.graph.stages[key]
            model, size = stage.about.get("model") is not None, WITHOUT_MODEL
            if model:
                shape = shape_of(stage, self.graph) or of_size(self._parameters(stage) or 1.0)
                amounts = amounts_of(stage, shape.parameters)
                fsdp = in_parts(stage, launcher)
                setup = setup_of(stage, self.graph, launcher, amounts, gpu=gpu, processes=parts, fsdp=fsdp)
                size = parts * need(shape, setup).total
            fitting = max(1.0, machine // size) if machine else float("inf")
            if wanted is not None:
                count = wanted
            elif self.devices and model:
                count = max(1, self.cores // (self.jobs or len(self.devices.names)) // parts)
            else:
                count = max(1, threads(work[key], self.jobs or min(beside[key], fitting), self.cores) // parts)
            needs[key] = Need(count, size, parts, device=model and self.devices is not None)
        return needs

    def _parameters(self, stage: Stage) -> float | None:
        """Parameters of a stage's model: by its shape, else by its weights; None if unknown."""
        shape = shape_of(stage, self.graph)
        if shape is not None:
            return shape.parameters
        made_by = stage.inputs.get("model")
        if isinstance(made_by, str) and made_by in self.graph.stages:
            return self._parameters(self.graph.stages[made_by])
        folder = stage.execution.get("model_path")
        if not folder:
            return None
        return sum(path.stat().st_size for path in Path(folder).glob("*.safetensors")) / 4 or None

    def room(self, key: str, running: Iterable[str]) -> bool:
        """Whether the stage may start beside the stages `running`, as far as cores and memory say."""
        need, others = self.needs[key], [self.needs[other] for other in running]
        if not others:
            self.free = memory.free_bytes()
            return True
        if self.jobs is not None:
            return len(others) < self.jobs
        if self.cores is None or need.device:
            return True
        others = [other for other in others if not other.device]
        if self.free is not None and need.bytes + sum(other.bytes for other in others) > self.free:
            return False
        return sum((one.threads or 1) * one.processes for one in [need, *others]) <= self.cores


def cores() -> int:
    """CPU cores that this process may use."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        limits.append(int(wanted))
    quota = memory.cpu_quota()
    return max(1, min([*limits, *([] if quota is None else [round(quota)])]))
