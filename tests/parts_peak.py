"""The memory of its own that a process takes for a model in parts: `python -m tests.parts_peak FOLDER PARTS` with torchrun's variables.

Counted are pages that no file has (RssAnon), every millisecond from before the model is opened until its weights lie in parts: parts of a
mapped file are one copy for all processes. PARTS is `parts`, or `whole` for a process that opens the model for itself, as with DDP.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed.fsdp  # its import takes memory too

from tests.conftest import ROOT, environment
from tests.opening_peak import CPU, MIB
from tests.ranks import groups
from w2s_cli.run.ranks import Group
from w2s_cli.training.models import bf16
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.models.opening import quiet
from w2s_cli.training.sharding import Sharding, local


def measure(folder: Path, count: int, parts: str) -> list[list[str]]:
    """The words that `count` processes of one stage print."""
    # a layer's memory goes back to the kernel when it is free, as with the allocator of a GPU
    trimmed = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
    words = [sys.executable, "-m", "tests.parts_peak", str(folder), parts]
    started = [
        subprocess.Popen(words, cwd=ROOT, env=environment(**trimmed, **group), stdout=subprocess.PIPE, text=True)
        for group in groups(count)
    ]
    return [process.communicate(timeout=120)[0].split() for process in started]


def own() -> int:
    """The bytes of this process that no file has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def main(folder: str, parts: str) -> None:
    """Print the peak and the end above the process before, and the bytes of the weights that it has, in MiB."""
    quiet()
    ranks = Group(os.environ).ranks

    torch.distributed.barrier()
    training = {"mode": "full", "model": {"sha256": "0"}, "precision": "fp32"}
    before, peak, ended = own(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.is_set():
            peak = max(peak, own())
            time.sleep(0.001)

    watching = threading.Thread(target=watch)
    watching.start()
    in_parts = parts == "parts"
    kept = bf16.for_training(training, in_parts=in_parts)
    model = open_language_model(Path(folder), CPU, {}, 64, on_host=in_parts, kept=kept)
    Sharding(model, ranks, CPU if in_parts else None)
    has = sum(local(value).nbytes for value in model.parameters())
    end = own()
    ended.set()
    watching.join()
    print("PEAK", (peak - before) // MIB, "END", (end - before) // MIB, "HAS", has // MIB, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:3])
