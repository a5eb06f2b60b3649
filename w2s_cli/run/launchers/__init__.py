"""How workers are started: one file for each way, chosen as `launcher.name` (configs/launcher/*.yaml).

* A launcher is a file with `start(threads) -> Worker`; a scheduler asks nothing else of it than the members of `Worker`.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.plugins import code_names


class Worker(Protocol):
    """A process that runs stages, one after another."""

    key: str | None  # the stage that it has now

    def fileno(self) -> int:
        """The file descriptor that becomes readable when there are events."""

    def give(self, key: str, folder: Path, redo: str | None) -> None:
        """Have it run the stage in `folder`; `redo` is the run id of a finished result to replace."""

    def events(self) -> list[dict[str, Any]] | None:
        """The events that it has sent; None: it is gone."""

    def stop(self, *, now: bool) -> None:
        """Ask it to save and stop, or kill it."""

    def code(self) -> int:
        """Its exit code, once it is gone; −n: signal n."""

    def end(self) -> None:
        """Let it go: it has no stage."""


def check(name: str) -> None:
    """UserError where no launcher has that name."""
    names = code_names("run/launchers")
    if name not in names:
        raise UserError(f'launcher.name={name}: unknown launcher "{name}".{did_you_mean(name, names)}')


def start(name: str, threads: int) -> Worker:
    """A new worker with `threads` CPU threads, by the launcher `name`, which is checked."""
    worker: Worker = import_module(f"w2s_cli.run.launchers.{name}").start(threads)
    return worker
