"""MLflow: one run a stage, looked up by its tag `w2s.key`, in the experiment MLFLOW_EXPERIMENT_NAME, else w2s.

* Without MLFLOW_TRACKING_URI the runs are in the database outputs/trackers/mlflow/mlflow.db:
  `mlflow ui --backend-store-uri sqlite:///outputs/trackers/mlflow/mlflow.db`. A file store, which MLflow has in maintenance, is one too
  where MLFLOW_TRACKING_URI names a folder.
* Params are the identity. They never change under one key, as MLflow demands; group and tags of the last command are tags.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.run.trackers import PROJECT, Tell, TrackedStage
from w2s_cli.store.locks import exclusive

KEY = "w2s.key"
LONGEST = 500  # characters of a param's value that every store takes


class Mlflow:
    """A run of MLflow; every call writes to the store."""

    def __init__(self, client: Any, run: str) -> None:
        self.client, self.run = client, run
        self.step = 0  # the last one

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures of a step in one call."""
        from mlflow.entities import Metric

        self.step, now = step, int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, step) for name, value in figures.items()])

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """The final metrics, and FINISHED; else KILLED, until the stage continues."""
        if metrics:
            self.log(int(metrics.get("steps", self.step)), {f"final/{name}": v for name, v in metrics.items()})
        self.client.set_terminated(self.run, "KILLED" if metrics is None else "FINISHED")


def start(stage: TrackedStage, folder: Path, tell: Tell) -> Mlflow:
    """The run with the stage's id as its tag, made if the experiment has none."""
    ours = f"sqlite:///{folder}/mlflow.db"
    os.environ.setdefault("MLFLOW_TRACKING_URI", ours)
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow
    from mlflow.entities import Param, RunTag

    # two workers must not make the database or the experiment at the same time
    with exclusive(folder / ".lock", folder, wait=True):
        client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = client.get_experiment_by_name(name)
        place = f"{folder}/artifacts" if os.environ["MLFLOW_TRACKING_URI"] == ours else None
        number = experiment.experiment_id if experiment else client.create_experiment(name, artifact_location=place)
    runs = client.search_runs([number], f"tags.`{KEY}` = '{stage.id}'", max_results=1)
    run = runs[0].info.run_id if runs else client.create_run(number, run_name=stage.name).info.run_id
    tags = {KEY: stage.id, "w2s.group": stage.group, "w2s.tags": ",".join(stage.tags)}
    client.log_batch(
        run,
        params=[] if runs else [Param(name, str(value)[:LONGEST]) for name, value in stage.config.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    client.update_run(run, status="RUNNING")
    return Mlflow(client, run)
