"""A sweep of pairs × losses × seeds: trainings asked for, trainings run, and wall time against as many separate commands.

The separate commands have an outputs folder each, as codes without a store work. Then the sweep with one stage and with two at a time, all
cores, on a machine that is kept busy by as many other processes as it has cores: two at a time must not be slower.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from scripts.benchmarks.processes import Took, w2s
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "sweep"
TRAININGS_A_JOB = 3  # weak supervisor, ceiling, student


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    folder = settings.work / "sweep"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    limits = [f"data.limits.{pool}={settings.sweep_rows}" for pool in ("weak_train", "strong_train", "test")]
    fields = {
        "weak": ["wordnet-xs", "wordnet-s"],
        "strong": ["wordnet-m", "wordnet-l"] if settings.size == "full" else ["wordnet-m"],
        "loss": ["xent", "logconf"],
        "seed": [str(seed) for seed in range(settings.sweep_seeds)],
    }
    jobs = [[f"{name}={value}" for name, value in zip(fields, one, strict=True)] for one in product(*fields.values())]
    swept = [f"{name}={','.join(values)}" for name, values in fields.items()]

    def run(outputs: str, *words: str, cores: int = settings.threads) -> Took:
        took = w2s(["train", *words, *limits, "bootstrap=200", f"outputs={outputs}"], cores, folder)
        say(f"  {' '.join(words)}: {took.wall_s:.0f} s")
        return took

    one = [f"launcher.threads={settings.threads}"]
    together = run("together", "-m", *swept, *one)
    apart = [run(f"apart-{number}", *words, *one) for number, words in enumerate(jobs)]
    ran = trainings(folder / "together")
    distinct = len(list((folder / "together").glob("stages/finetune/*-*")))
    counts = re.search(r"ask for (\d+) stages, (\d+) of them distinct", together.output)
    records = [
        record(PART, "trainings repeated", [ran - distinct], "count", better="less", target=0,
               detail={"jobs": len(jobs), "trainings asked for": TRAININGS_A_JOB * len(jobs), "trainings run": ran,
                       "stages asked for, distinct": [int(n) for n in counts.groups()] if counts else None}),
        record(PART, f"{len(jobs)} jobs, times less CPU than separate commands",
               [sum(took.cpu_s for took in apart) / together.cpu_s], "×"),
        record(PART, f"{len(jobs)} jobs, times less wall time than separate commands",
               [sum(took.wall_s for took in apart) / together.wall_s], "×"),
    ]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    ratios = []
    for repeat in range(settings.repeats if settings.size == "full" else 1):
        with busy(cores if settings.size != "tiny" else 0):
            alone = run(f"one-{repeat}", "-m", *swept, "launcher.jobs=1", cores=cores)
            two = run(f"two-{repeat}", "-m", *swept, "launcher.jobs=2", cores=cores)
        ratios.append(alone.wall_s / two.wall_s)
    name = "busy machine: one stage at a time over two at a time, wall time"
    return [*records, record(PART, name, ratios, "×", target=1.0, detail={"cores": cores})]


def trainings(outputs: Path) -> int:
    """How many finetune stages were run to the end, those done again included."""
    return len(list(outputs.glob("stages/finetune/*/record.json"))) + len(list(outputs.glob("stages/finetune/*/old/*")))


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep this many cores busy meanwhile."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()
