"""trackio: one run a stage, `resume="allow"`, in the project w2s: `TRACKIO_DIR=outputs/trackers/trackio trackio show`.

* The database is in outputs/trackers/trackio, unless TRACKIO_DIR is set. TRACKIO_SPACE_ID and TRACKIO_SERVER_URL send figures elsewhere.
* trackio tells its failures as Python warnings and goes on. Here the first of them ends the tracker, so that the user hears of it.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.run.trackers import PROJECT, Tell, TrackedStage


class Trackio:
    """A run of trackio, which writes from a thread of its own."""

    def __init__(self, run: Any, faults: list[str]) -> None:
        self.run, self.faults = run, faults

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A row of the run."""
        self.run.log(dict(figures), step=step)
        self.refuse_faults()

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """The final metrics as one more row, at their step; then everything is on the disk."""
        if metrics:
            step = int(metrics["steps"]) if "steps" in metrics else None
            self.run.log({f"final/{name}": value for name, value in metrics.items()}, step=step)
        self.run.finish()
        self.refuse_faults()

    def refuse_faults(self) -> None:
        """Raise the first failure that trackio told."""
        if self.faults:
            raise OSError(self.faults[0])


def start(stage: TrackedStage, folder: Path, tell: Tell) -> Trackio:
    """The run with the stage's name, which ends in its key."""
    os.environ.setdefault("TRACKIO_DIR", str(folder))  # read at the import
    import trackio

    faults: list[str] = []

    def note(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
        if "trackio" in Path(filename).parts and issubclass(category, UserWarning):
            faults.append(str(message))

    warnings.showwarning = note
    warnings.simplefilter("always", UserWarning)
    run = trackio.init(
        PROJECT,
        name=stage.name,
        group=stage.group,
        config={**stage.config, "tags": ", ".join(stage.tags), "id": stage.id},
        resume="allow",
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    trial = Trackio(run, faults)
    trial.refuse_faults()
    return trial
