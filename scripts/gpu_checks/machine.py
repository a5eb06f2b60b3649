"""The card, the processor and the versions, read in a process that uses the device."""

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from scripts.benchmarks.stored import processor
from scripts.gpu_checks.settings import Settings

PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "numpy", "pyarrow")
GIB = 1 << 30
ASK = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
CANNOT_COPY = "forked subprocess"  # of torch's message where a copy of a process cannot use the GPU


def describe(settings: Settings) -> dict[str, Any]:
    """What the report says of the machine. It makes a tensor on the device, which shows that the device can be used."""
    import torch

    torch.ones(2, device=settings.device).sum().item()
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    gpu = None
    if settings.device.startswith("cuda"):
        card = torch.cuda.get_device_properties(settings.device)
        gpu = {
            "name": card.name,
            "memory_gib": round(card.total_memory / GIB, 1),
            "capability": f"{card.major}.{card.minor}",
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }
    return {
        "gpu": gpu,
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "free_disk_gib": round(shutil.disk_usage(settings.work).free / GIB, 1),
        "python": platform.python_version(),
        "packages": packages,
    }


def _driver() -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(ASK, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        return told[0] if told else None
    return None
