"""One process and what it took: wall seconds, CPU seconds of it and its children, peak memory of the largest of them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Took:
    """What a process took, and what it answered."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    answer: dict[str, Any] = field(default_factory=dict)  # a program's answer
    output: str = ""

    def figures(self) -> dict[str, float]:
        """The numbers, those of its answer among them."""
        own = {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_mib": self.peak_mib}
        return own | {name: float(v) for name, v in self.answer.items() if isinstance(v, int | float)}


class ProcessFailed(Exception):  # noqa: N818 - carries what the process wrote
    """A timed process ended with another code than 0."""


def environment(threads: int, **extra: str) -> dict[str, str]:
    """The same for every program: so many threads that do not spin, no network, nothing of the caller's w2s."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("W2S_")}
    fixed = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "160",
    }
    return {**kept, **fixed, **extra}


def run(words: Sequence[str], threads: int, folder: Path, codes: Sequence[int] = (0,), **extra: str) -> Took:
    """Run a command in `folder` and wait for it.

    Raises:
        ProcessFailed: its code is not one of `codes`; the message holds the end of its output.
    """
    with tempfile.TemporaryFile() as output:
        before = time.monotonic()
        process = subprocess.Popen(
            list(words), cwd=folder, env=environment(threads, **extra), stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - before
        code = process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code not in codes:
        raise ProcessFailed(f"{' '.join(words)} ended with {code}:\n{text[-3000:]}")
    return Took(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, output=text)


def w2s(words: Sequence[str], threads: int, folder: Path, codes: Sequence[int] = (0,), **extra: str) -> Took:
    """Run the real command line."""
    return run([sys.executable, "-m", "w2s_cli", *words], threads, folder, codes, **extra)


def program(name: str, job: dict[str, Any], settings_work: Path, threads: int) -> Took:
    """Run programs/NAME.py on a job; its answer is the JSON file that it writes."""
    with tempfile.TemporaryDirectory(dir=settings_work) as scratch:
        folder = Path(scratch)
        (folder / "job.json").write_text(json.dumps({**job, "work": scratch}), encoding="utf-8")
        module = f"scripts.benchmarks.programs.{name}"
        took = run([sys.executable, "-m", module, str(folder / "job.json")], threads, folder)
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return Took(took.wall_s, took.cpu_s, took.peak_mib, answer, took.output)
