"""Launchers, the ways to run stages: one file each, chosen as `launcher.name` (configs/launcher/*.yaml). A launcher's file has

HERE: bool                                whether stages run on this machine, whose cores and memory they share
def check(settings) -> None               refuse (UserError) settings that cannot work, before a run
def start(settings, processes) -> Worker  a worker of so many processes, which gets one stage after another (run/scheduler.py); or
def queue(settings, folder) -> Queue      a batch system, which has all stages at once (run/batch.py)
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.plugins import code_names
from w2s_cli.run.arrays import Array
from w2s_cli.run.resources import most_processes


class Worker(Protocol):
    """A process that runs stages, one after another."""

    processes: int
    key: str | None  # key of its stage; None: free
    single: bool  # it runs one stage
    words: str  # the last line that it printed beside its events, for messages

    def fileno(self) -> int:
        """The file descriptor that becomes readable when there are events."""

    def give(self, key: str, folder: Path, redo: str | None) -> None:
        """Run the stage in `folder`; `redo` is the run id of a finished result to replace."""

    def events(self) -> list[dict[str, Any]] | None:
        """The events since the last call; None: the worker has ended."""

    def look(self) -> list[dict[str, Any]]:
        """What the folder of its stage tells of a worker that sends no events."""

    def stop(self, *, now: bool) -> None:
        """Ask the worker to save and stop; with `now`, kill it."""

    def code(self) -> int:
        """The exit code of an ended worker; −n: signal n."""

    def end(self) -> None:
        """End the worker, which has no stage."""


@dataclass(frozen=True)
class Submitted:
    """A stage that a batch system is going to run."""

    name: str  # for the system's listings
    folder: Path
    redo: str | None  # run id of a finished result to replace
    processes: int  # that share it
    resources: Mapping[str, Any]  # ResourcesConfig, merged


class Queue(Protocol):
    """A batch system."""

    def submit(self, made: Sequence[Array], stages: Mapping[str, Submitted]) -> Iterator[tuple[str, str, Path]]:
        """Submit the stages as `made` joins them; yields (stage, id of its job, log of the job) as soon as the system has it."""

    def states(self, jobs: Collection[str]) -> dict[str, str] | None:
        """Those of the jobs that the system still has → their state in words; None if it does not answer."""

    def stop(self, jobs: Collection[str], *, now: bool) -> None:
        """Cancel jobs; running ones save first, unless `now`."""

    def end_of(self, job: str) -> str:
        """How a job that the system no longer has, or that cannot start, ended, in words; "" if the system does not tell."""


def find(name: str) -> Any:
    """The launcher `name`, a module.

    Raises:
        UserError: no such launcher.
    """
    names = code_names("run/launchers")
    if name not in names:
        raise UserError(f'launcher.name={name}: unknown launcher "{name}".{did_you_mean(name, names)}')
    return import_module(f"w2s_cli.run.launchers.{name}")


def is_batch(name: str) -> bool:
    """Whether a launcher gives all stages to a batch system at once."""
    return hasattr(find(name), "queue")


def check(settings: Mapping[str, Any], *, here: bool) -> None:
    """Refuse (UserError) an unknown launcher, settings of it that cannot be, and with `here` those that cannot work on this machine."""
    launcher, (setting, processes) = find(settings["name"]), most_processes(settings)
    if settings["fsdp"] and processes == 1:
        raise UserError(
            "launcher.fsdp=true shares out the weights of a training on its processes, and there is one: set launcher.processes=2 or more, "
            "or leave launcher.fsdp out."
        )
    device = settings["device"]
    if processes > 1 and (
        len(device) < processes if isinstance(device, list) else device not in ("auto", "cpu", "cuda")
    ):
        raise UserError(
            f"launcher.device={device}: {setting}={processes} need a device each: use launcher.device=auto or cpu, or {setting}=1."
        )
    if here:
        launcher.check(settings)
