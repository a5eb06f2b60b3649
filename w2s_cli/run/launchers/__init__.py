"""Launchers, which start workers: one file for each way, chosen as `launcher.name` (configs/launcher/*.yaml).

A launcher is a file with `start(processes) -> Worker`: a worker of so many processes, which share the stages that can be shared.
The scheduler uses only the members of `Worker`.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.plugins import code_names


class Worker(Protocol):
    """A process that runs stages, one after another."""

    processes: int
    key: str | None  # key of its stage; None: free

    def fileno(self) -> int:
        """The file descriptor that becomes readable when there are events."""

    def give(self, key: str, folder: Path, redo: str | None) -> None:
        """Run the stage in `folder`; `redo` is the run id of a finished result to replace."""

    def events(self) -> list[dict[str, Any]] | None:
        """The events since the last call; None: the worker has ended."""

    def stop(self, *, now: bool) -> None:
        """Ask the worker to save and stop; with `now`, kill it."""

    def code(self) -> int:
        """The exit code of an ended worker; −n: signal n."""

    def end(self) -> None:
        """End the worker, which has no stage."""


def check(name: str) -> None:
    """Refuse (UserError) a name that no launcher has."""
    names = code_names("run/launchers")
    if name not in names:
        raise UserError(f'launcher.name={name}: unknown launcher "{name}".{did_you_mean(name, names)}')


def check_processes(launcher: Mapping[str, Any]) -> None:
    """Refuse (UserError) settings of several processes that cannot be."""
    if launcher["fsdp"] and launcher["processes"] == 1:
        raise UserError(
            "launcher.fsdp=true shares out the weights of a training on its processes, and there is one: set launcher.processes=2 or more, "
            "or leave launcher.fsdp out."
        )
    one_device = launcher["device"] not in ("auto", "cpu", "cuda")
    if launcher["processes"] > 1 and one_device:
        raise UserError(
            f"launcher.device={launcher['device']} is one device, and launcher.processes={launcher['processes']} need one each: use "
            "launcher.device=cuda or cpu, or launcher.processes=1."
        )


def start(name: str, processes: int) -> Worker:
    """A new worker of so many processes from the launcher `name`, a name that `check` has passed."""
    worker: Worker = import_module(f"w2s_cli.run.launchers.{name}").start(processes)
    return worker
