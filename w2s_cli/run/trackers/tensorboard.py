"""TensorBoard: event files in outputs/trackers/tensorboard/<stage>, for `tensorboard --logdir outputs/trackers/tensorboard`.

* They are written by the package tensorboard itself, which loads neither torch nor TensorFlow.
* A continued stage adds a file to its folder. The settings and the final metrics are in the HPARAMS tab, where a sweep can be compared.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.run.trackers import Tell, TrackedStage

FINAL = "final/"  # before the name of a final metric


class TensorBoard:
    """An event file, open for writing."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.step = 0  # the last one

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """One event with a scalar for each figure, on the disk when this returns."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self.step = step
        self.add(Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]))

    def add(self, summary: Any) -> None:
        """Write a summary at the last step."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=self.step, summary=summary))
        self.writer.flush()

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """The final metrics as scalars at the last step."""
        if metrics:
            self.log(int(metrics.get("steps", self.step)), {f"{FINAL}{name}": v for name, v in metrics.items()})
        self.writer.close()


def start(stage: TrackedStage, folder: Path, tell: Tell) -> TensorBoard:
    """An event file in the stage's folder."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    run = TensorBoard(EventFileWriter(str(folder / stage.name)))
    if not stage.continued:
        settings = {name: "null" if value is None else value for name, value in stage.config.items()}
        run.add(hparams_pb({**settings, "group": stage.group}, trial_id=stage.id))
    return run
