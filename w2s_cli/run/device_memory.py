"""The memory of the device that stages will run on, asked without torch: a plan must not wait for its import.

* Which devices these are, `devices.py` says. An NVIDIA GPU is asked by `nvidia-smi`, which comes with the driver.
* Of several GPUs the one with the least free memory counts, since a stage may get any of them.
* A Mac's GPU shares the machine's memory. Any other device's memory is unknown, and so is that of stages that run elsewhere.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from w2s_cli.run import launchers
from w2s_cli.run.devices import asked, identities, used
from w2s_cli.store import memory


class Device(NamedTuple):
    """A device and its memory."""

    name: str
    total: int  # bytes
    free: int  # bytes that nothing uses now


def on_gpu(launcher: Mapping[str, Any]) -> bool:
    """Whether stages with a model run on a GPU, as far as this process can tell."""
    if launchers.find(launcher["name"]).HERE:
        return bool(used(launcher))
    return bool(launcher["device"] != "cpu" and launcher["gpus"])


def device_of(launcher: Mapping[str, Any]) -> Device | None:
    """The device of a launcher's stages; None if its memory cannot be asked."""
    if not launchers.find(launcher["name"]).HERE:
        return None
    names = used(launcher)
    if names and names != ["mps"]:
        gpus = _memory_of(identities(names).values())
        return min(gpus, key=lambda gpu: gpu.free) if gpus else None
    total, free = memory.machine_bytes(), memory.free_bytes()
    return None if total is None or free is None else Device("this machine", total, free)


def _memory_of(wanted: Iterable[str]) -> list[Device]:
    """The memory of the GPUs whose UUIDs begin so; [] if one of them is unknown."""
    gpus: dict[str, Device] = {}
    for fields in asked("uuid", "name", "memory.total", "memory.free"):
        if len(fields) == 4 and fields[2].isdecimal() and fields[3].isdecimal():
            gpus[fields[0]] = Device(fields[1], int(fields[2]) << 20, int(fields[3]) << 20)
    matches = [[gpu for uuid, gpu in gpus.items() if uuid.startswith(one)] for one in wanted]
    return [gpus[0] for gpus in matches] if all(len(gpus) == 1 for gpus in matches) else []
