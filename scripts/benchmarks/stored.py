"""docs/benchmarks.json: the records of each processor, size and part, with the machine, versions, commit and command that they came from.

A ratio of two programs is one processor's: of matrix libraries one is slow on one make and fast on the other. So each processor has records
of its own, and a check compares with those of this processor only.
"""

import os
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scripts.benchmarks.records import Record
from w2s_cli.pipeline.provenance import git_state
from w2s_cli.store.files import read_json, write_json

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "pyarrow")


def circumstances(words: Sequence[str], threads: int) -> dict[str, Any]:
    """Machine, versions, commit, time and command of a measurement."""
    git = git_state() or {}
    return {
        "machine": machine(),
        "threads": threads,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "commit": git.get("commit"),
        "dirty": bool(git.get("dirty")),
        "date": time.strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 1),  # other work at the start: above 0.5 the wall times are not to be trusted
        "command": shlex.join(["scripts/bench", *words]),
    }


def processor() -> str:
    """'AMD EPYC (family 25, model 17)', and the matrix units of Intel's: with them, bf16 is another matter."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields.get('model')})"
    return f"{name} with AMX" if "amx_bf16" in fields.get("flags", "").split() else name


def machine() -> str:
    """'AMD EPYC (family 25, model 17), 2 cores, 23 GiB' and the GPU, if there is one."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}{gpu}"


def read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """processor → size → part → {"records", "circumstances"}; {} if there is no file."""
    return dict(read_json(path) or {})


def records(stored: dict[str, dict[str, dict[str, Any]]], size: str, part: str) -> list[Record]:
    """The stored records of a part on this processor; [] if it was never measured on it at this size."""
    return [Record(**one) for one in stored.get(processor(), {}).get(size, {}).get(part, {}).get("records", [])]


def keep(path: Path, size: str, part: str, records: Sequence[Record], told: dict[str, Any]) -> None:
    """Put a part's records on this processor in the place of its old ones."""
    stored = read(path)
    kept = {"circumstances": told, "records": [asdict(one) for one in records]}
    stored.setdefault(processor(), {}).setdefault(size, {})[part] = kept
    write_json(path, stored)
