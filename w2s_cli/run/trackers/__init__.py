"""Trackers, which show the figures of stages in a program such as TensorBoard: one file for each, chosen as `tracker=[NAME, …]`.

* A tracker is a file with `start(stage, folder, tell) -> Tracker`, in the package or in `run/trackers/` of a --config-dir folder.
* It runs in a process of its own (`run/tracker_process.py`), so it may set the environment, print, wait, raise and crash. It gets each
  figure once, in the order of the steps, also of a stage that was stopped and continued.
* Settings and secrets are those of its library, in the environment (WANDB_PROJECT, MLFLOW_TRACKING_URI); no configuration has them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline.packages import need_imports
from w2s_cli.plugins import code_names, find_code, load_code

FOLDER = "run/trackers"
PROJECT = "w2s"  # the project or experiment of all runs, where the environment names none


@dataclass(frozen=True)
class TrackedStage:
    """What a tracker is told of a stage at its start."""

    id: str  # of the tracker's run: the stage's key; key-2, key-3, … of a result that is made again
    name: str  # of the stage's folder, for people
    kind: str
    group: str  # the folder's name of the run or sweep that makes the stage
    tags: list[str]  # kind, role and methods
    config: dict[str, str | int | float | bool | None]  # the stage's identity, by dotted names
    continued: bool  # the tracker has had figures of this run before


class Tracker(Protocol):
    """The run of one stage in a tracker."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add the figures of a step."""

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """End the run with its final metrics. None: the stage was stopped or has failed, and may continue later."""


Tell = Callable[[str], None]  # shows a line to the user, once a command
Start = Callable[[TrackedStage, Path, Tell], Tracker]


def check(names: Iterable[str], folders: Sequence[Path | str], *, packages: bool) -> None:
    """Refuse (UserError) a name that no tracker has, and with `packages` a tracker whose package is not installed."""
    for name in names:
        trackers = code_names(FOLDER, folders)
        if name not in trackers:
            raise UserError(f'tracker=[{name}]: unknown tracker "{name}".{did_you_mean(name, trackers)}')
        if packages:
            need_imports(find_code(FOLDER, name, folders))


def load(name: str, folders: Sequence[Path | str]) -> Start:
    """The function `start` of a tracker.

    Raises:
        UserError: no such tracker, its import fails, or it has no `start`.
    """
    module, path = load_code(FOLDER, name, folders)
    start: Start | None = getattr(module, "start", None)
    if not callable(start):
        raise UserError(f"{path} defines no function start(stage, folder, tell): a tracker needs it.")
    return start
