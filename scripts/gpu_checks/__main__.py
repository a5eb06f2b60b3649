"""The command line of `scripts/gpu_check`.

* The most telling check comes first (`Turn.place`). A check is skipped, and said to be, where its expected time is more than what is left
  of `--minutes`; it is killed after `LATE` times its expected time, or when the time is over.
* The exit code is 0 if every check that ran has passed, 1 if one has not, 2 for a wrong word on the command line or
  a device that cannot be used.
"""

import argparse
import importlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from scripts.benchmarks.processes import ROOT
from scripts.gpu_checks import processes, report
from scripts.gpu_checks.machine import CANNOT_COPY
from scripts.gpu_checks.settings import SIZES, Settings, Turn

LATE = 3.0
LEAST_S = 60.0  # that a check may take, if so much is left
REPORT_S = 3.0  # kept for the table
DEFAULT_JSON = ROOT / "outputs" / "gpu_check.json"


class Job(NamedTuple):
    """A check on a shape."""

    check: str
    shape: str
    turn: Turn


def names() -> list[str]:
    """The checks: the files of checks/."""
    folder = Path(__file__).parent / "checks"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def jobs(chosen: Sequence[str]) -> list[Job]:
    """The chosen checks on all their shapes, the most telling first."""
    every = [
        Job(name, shape, turn)
        for name in names()
        if not chosen or name in chosen
        for shape, turn in importlib.import_module(f"scripts.gpu_checks.checks.{name}").RUNS.items()
    ]
    return sorted(every, key=lambda job: (job.turn.place, job.check))


def main(argv: Sequence[str]) -> int:
    """Run the checks within the time, and report."""
    began = time.monotonic()
    options = _options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the running check ends too
    kind, _, number = options.device.partition(":")
    if kind == "cuda":  # one card: transformers.Trainer takes all that it sees
        os.environ["CUDA_VISIBLE_DEVICES"] = _card(int(number or 0))
    with tempfile.TemporaryDirectory(prefix="w2s-gpu-check-", dir=options.work) as folder:
        settings = replace(SIZES[options.shapes](Path(folder)), device=kind)
        about: dict[str, Any] = {
            "command": shlex.join(["scripts/gpu_check", *argv]),
            "date": time.strftime("%Y-%m-%d %H:%M:%S"),
            "size": settings.size,
            "device": settings.device,
            "minutes": options.minutes,
        }
        end = began + 60 * options.minutes - REPORT_S
        settings, machine = _machine(settings, end - time.monotonic())
        if not machine.records:
            print(f"gpu_check: the device {settings.device} cannot be used ({machine.why})", file=sys.stderr)
            return 2
        result = report.Report(options.json, {**about, "machine": machine.records[0]})
        print(report.title(result.about), flush=True)
        for job in jobs(options.checks):
            result.add(_ran(job, settings, end))
        result.finished = True
        result.write()
    result.table()
    print(f"{time.monotonic() - began:.0f} s; {'passed' if result.passed else 'NOT passed'}; {options.json}")
    return 0 if result.passed else 1


def _card(number: int) -> str:
    """The entry of CUDA_VISIBLE_DEVICES of this card, of those that the user allows."""
    allowed = [entry for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry]
    return allowed[number] if number < len(allowed) else str(number)


def _machine(settings: Settings, limit_s: float) -> tuple[Settings, processes.Answer]:
    """The machine, and the settings with the start of processes that the device allows."""
    answer = processes.describe(settings, limit_s)
    if CANNOT_COPY in answer.why and settings.start == "forkserver":
        settings = replace(settings, start="spawn")
        answer = processes.describe(settings, limit_s)
    return settings, answer


def _ran(job: Job, settings: Settings, end: float) -> report.Ran:
    started = time.monotonic()
    left = end - started
    if job.turn.seconds > left:
        why = f"about {job.turn.seconds:.0f} s are needed, {max(0, left):.0f} are left of --minutes"
        answer = processes.Answer(processes.SKIPPED, why)
    else:
        limit = min(left, max(LEAST_S, LATE * job.turn.seconds))
        answer = processes.run_check(job.check, job.shape, settings, limit)
    return report.Ran(job.check, job.shape, answer, time.monotonic() - started, job.turn.seconds)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    made = argparse.ArgumentParser(prog="scripts/gpu_check", description="What w2s does on one NVIDIA GPU.")
    made.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(names())}; none: all")
    made.add_argument("--minutes", type=float, default=8.0, help="of everything together (default 8)")
    made.add_argument("--device", default="cuda", help="cuda (default), cuda:1 or cpu")
    made.add_argument(
        "--shapes", choices=sorted(SIZES), default="full", help="tiny: for a test of the checks themselves"
    )
    made.add_argument("--json", type=Path, default=DEFAULT_JSON, help="default: outputs/gpu_check.json")
    made.add_argument("--work", type=Path, help="where the scratch folder is made (default: the machine's)")
    options = made.parse_args(argv)
    unknown = [name for name in options.checks if name not in names()]
    if unknown:
        made.error(f"there is no check {unknown[0]}; there are {', '.join(names())}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
