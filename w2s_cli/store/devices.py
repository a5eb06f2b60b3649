"""The memory of the device that stages will run on, asked without torch: a plan must not wait for its import.

* An NVIDIA GPU is asked by `nvidia-smi`, which comes with the driver. CUDA_VISIBLE_DEVICES chooses and orders the GPUs, as for torch.
* A Mac's GPU shares the machine's memory. Any other device's memory is unknown.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from w2s_cli.store import memory

ASKED = ["nvidia-smi", "--query-gpu=uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
ANSWER_SECONDS = 10


class Device(NamedTuple):
    """A device and its memory."""

    name: str
    total: int  # bytes
    free: int  # bytes that nothing uses now


def on_accelerator(device: str) -> bool:
    """Whether stages with `launcher.device` run on a GPU, as far as this process can tell without torch."""
    if device != "auto":
        return device != "cpu"
    return sys.platform == "darwin" or any(Path("/dev").glob("nvidia[0-9]*"))


def device_of(device: str) -> Device | None:
    """The device that `launcher.device` names (auto, cpu, cuda, cuda:1, mps); None if its memory cannot be asked."""
    if on_accelerator(device) and device != "mps" and sys.platform != "darwin":
        gpus = visible_gpus()
        number = int(device.partition(":")[2] or 0)
        return gpus[number] if number < len(gpus) else None
    total, free = memory.machine_bytes(), memory.free_bytes()
    return None if total is None or free is None else Device("this machine", total, free)


def visible_gpus() -> list[Device]:
    """The NVIDIA GPUs that this process may use, in torch's order; [] without a driver."""
    lines: list[str] = []
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(ASKED, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
        lines = done.stdout.strip().splitlines()
    gpus: dict[str, Device] = {}
    for line in lines:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4 and fields[2].isdecimal() and fields[3].isdecimal():
            gpus[fields[0]] = Device(fields[1], int(fields[2]) << 20, int(fields[3]) << 20)
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return list(gpus.values())
    ordered, every = [], list(gpus.items())
    for word in chosen.split(","):
        named = [gpu for uuid, gpu in every if word.strip() and uuid.startswith(word.strip())]
        if word.strip().isdecimal() and int(word) < len(every):
            named = [every[int(word)][1]]
        if len(named) != 1:  # as CUDA does: devices after the first wrong one are hidden
            break
        ordered += named
    return ordered
