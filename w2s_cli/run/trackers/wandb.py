"""Weights & Biases: one run a stage, `resume="allow"`, in the project WANDB_PROJECT, else w2s.

* Who is logged in (`wandb login`, WANDB_API_KEY) writes to the server; WANDB_MODE decides where it is set. Without a key the runs are
  written to outputs/trackers/wandb and a line says how they are sent later: nothing asks for a key and nothing waits for a network.
* The server ignores steps that it has. Offline, a continued stage has a folder of its own with the same run id, and no step twice.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from w2s_cli.run.trackers import PROJECT, Tell, TrackedStage

LONGEST_TAG, LONGEST_GROUP = 64, 128  # characters that the server takes


class Wandb:
    """A run of W&B."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """A row of the run's history."""
        self.run.log(dict(figures), step=step)

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """The final metrics as the run's summary. A stage without an end is marked as one that failed, until it continues."""
        self.run.summary.update({f"final/{name}": value for name, value in (metrics or {}).items()})
        self.run.finish(exit_code=0 if metrics is not None else 1)


def start(stage: TrackedStage, folder: Path, tell: Tell) -> Wandb:
    """The run with the stage's id."""
    import wandb

    mode: Any = os.environ.get("WANDB_MODE") or ("online" if _has_key(wandb) else "offline")
    if mode == "offline":
        tell(
            f"W&B writes to {folder / 'wandb'}; after wandb login, this sends it: (cd {quote(str(folder))}; wandb sync)"
        )
    run = wandb.init(
        id=stage.id,
        name=stage.name,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=os.environ.get("WANDB_RUN_GROUP", stage.group)[:LONGEST_GROUP],
        job_type=stage.kind,
        tags=[tag[:LONGEST_TAG] for tag in stage.tags],
        config=dict(stage.config),
        dir=folder,
        mode=mode,
        resume="allow",
        save_code=False,
        settings=wandb.Settings(console="off", quiet=True),
    )
    return Wandb(run)


def _has_key(wandb: Any) -> bool:
    """Whether a key or token is in the environment or in the file of `wandb login`."""
    named = any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"))
    return named or bool(wandb.api.api_key)
