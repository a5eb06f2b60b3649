"""w2s' own Hydra launcher: all jobs of a multirun at once.

* Hydra's launchers run one job after another (basic) or side by side (joblib), blind to what the jobs share. This one composes every
  job's configuration and hands the list to one scheduler, which runs each distinct stage once.
* Hydra finds launchers only in the namespace package `hydra_plugins`; `compose.py` puts the folder above this one on the path. What
  is to be done with the configurations comes along as the task function's attribute `whole_sweep`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction

from w2s_cli.errors import UserError


class W2SLauncher(Launcher):
    """Hands all configurations of the sweep to `task_function.whole_sweep(configs)`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: Any) -> None:
        self.context = hydra_context
        self.whole_sweep = task_function.whole_sweep
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if initial_job_idx > 0:
            raise UserError("hydra.sweeper.max_batch_size splits the sweep: use hydra/launcher=basic with it.")
        compose = self.context.config_loader.load_sweep_config
        self.whole_sweep([compose(self.config, list(overrides)) for overrides in job_overrides])
        (Path(self.config.hydra.sweep.dir) / "multirun.yaml").unlink(missing_ok=True)  # the run's folder says it all
        done = [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]
        for job in done:
            job.return_value = None
        return done


ConfigStore.instance().store(
    group="hydra/launcher",
    name="w2s",
    node={"_target_": "hydra_plugins.w2s_launcher.W2SLauncher"},
    provider="w2s",
)
