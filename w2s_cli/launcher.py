"""w2s' own Hydra launcher: all jobs of a multirun at once.

* Hydra's launchers run one job after another (basic) or side by side (joblib), blind to what the jobs share. This one composes every
  job's configuration and hands the list to one scheduler, which runs each distinct stage once.
* Hydra only makes launchers from the namespace `hydra_plugins`, and lets a program register one by hand; the class is registered under
  a name in that namespace, so that no second package has to be installed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction

from w2s_cli.errors import UserError

Sweep = Callable[[list[Any], list[Path]], None]


def register(sweep: Sweep) -> None:
    """Make `hydra/launcher=w2s` call `sweep(configs, user's config folders)` once for the whole multirun."""

    class UnionLauncher(Launcher):
        def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: Any) -> None:
            self.context = hydra_context
            self.config = config

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            from w2s_cli.compose import source_folders

            if initial_job_idx > 0:
                raise UserError("hydra.sweeper.max_batch_size splits the sweep: use hydra/launcher=basic with it.")
            configs = [
                self.context.config_loader.load_sweep_config(self.config, list(overrides))
                for overrides in job_overrides
            ]
            sweep(configs, source_folders(self.config.hydra))
            done = []
            for overrides in job_overrides:
                job = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
                job.return_value = None
                done.append(job)
            return done

    UnionLauncher.__module__ = "hydra_plugins.w2s"
    Plugins.instance().register(UnionLauncher)
    ConfigStore.instance().store(
        group="hydra/launcher", name="w2s", node={"_target_": "hydra_plugins.w2s.UnionLauncher"}, provider="w2s"
    )
