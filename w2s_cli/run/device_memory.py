"""The memory of the device that stages will run on, asked without torch: a plan must not wait for its import.

* Which devices these are, `devices.py` says. An NVIDIA GPU is asked by `nvidia-smi`, which comes with the driver.
* Of several GPUs the one with the least free memory counts, since a stage may get any of them.
* A Mac's GPU shares the machine's memory.
* A device that cannot be asked, and that of a job, has the memory that the settings say: `launcher.gpu_memory_gb`, and without a GPU the
  job's `launcher.memory_gb`. It may differ from stage to stage.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from w2s_cli.pipeline.graph import Stage
from w2s_cli.pipeline.memory import GIB
from w2s_cli.run import launchers
from w2s_cli.run.devices import asked, identities, used
from w2s_cli.run.resources import launcher_value
from w2s_cli.store import memory


class Device(NamedTuple):
    """A device and its memory."""

    name: str
    total: int  # bytes
    free: int  # bytes that nothing uses now


def on_gpus(launcher: Mapping[str, Any], stages: Sequence[Stage]) -> list[bool]:
    """Whether each of the stages, which have a model, runs on a GPU, as far as this process can tell."""
    if launchers.find(launcher["name"]).HERE:
        return [bool(used(launcher))] * len(stages)
    return [bool(launcher["device"] != "cpu" and launcher_value(stage, launcher, "gpus")[1]) for stage in stages]


def devices_of(launcher: Mapping[str, Any], stages: Sequence[Stage]) -> list[Device | None]:
    """The device of each stage; None if its memory is unknown."""
    here = device_here(launcher) if launchers.find(launcher["name"]).HERE else None
    return [
        here or _stated(launcher, stage, gpu=gpu) for stage, gpu in zip(stages, on_gpus(launcher, stages), strict=True)
    ]


def device_here(launcher: Mapping[str, Any]) -> Device | None:
    """The device of stages that run on this machine; None if its memory cannot be asked."""
    names = used(launcher)
    if names and names != ["mps"]:
        gpus = _memory_of(identities(names).values())
        return min(gpus, key=lambda gpu: gpu.free) if gpus else None
    total, free = memory.machine_bytes(), memory.free_bytes()
    return None if total is None or free is None else Device("this machine", total, free)


def _stated(launcher: Mapping[str, Any], stage: Stage, *, gpu: bool) -> Device | None:
    """The device of a stage as the settings have it."""
    name, size = launcher_value(stage, launcher, "gpu_memory_gb" if gpu else "memory_gb")
    return (
        None
        if size is None
        else Device(f"its {'GPU' if gpu else 'job'} ({name})", round(size * GIB), round(size * GIB))
    )


def _memory_of(wanted: Iterable[str]) -> list[Device]:
    """The memory of the GPUs whose UUIDs begin so; [] if one of them is unknown."""
    gpus: dict[str, Device] = {}
    for fields in asked("uuid", "name", "memory.total", "memory.free"):
        if len(fields) == 4 and fields[2].isdecimal() and fields[3].isdecimal():
            gpus[fields[0]] = Device(fields[1], int(fields[2]) << 20, int(fields[3]) << 20)
    matches = [[gpu for uuid, gpu in gpus.items() if uuid.startswith(one)] for one in wanted]
    return [gpus[0] for gpus in matches] if all(len(gpus) == 1 for gpus in matches) else []
