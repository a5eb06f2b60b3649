"""The stages of one command, as every way to run them keeps them: the scheduler of workers, and the jobs of a batch system."""

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.states import Planned
from w2s_cli.run.order import below, readers
from w2s_cli.run.outcome import Outcome
from w2s_cli.run.pruning import Pruning
from w2s_cli.store.shapes import read_record
from w2s_cli.store.store import Store


class Work:
    """The graph and plans of a command, what has become of its stages, and whom it tells."""

    def __init__(
        self,
        graph: Graph,
        store: Store,
        plans: dict[str, Planned],
        launcher: dict[str, Any],
        view: Callable[[Stage, dict[str, Any]], None],
        *,
        keep_weights: bool = True,
    ) -> None:
        self.graph = graph
        self.store = store
        self.plans = plans
        self.launcher = launcher
        self.view = view
        self.upstream = {key: stage.upstream() for key, stage in graph.stages.items()}
        self.readers = readers(self.upstream)
        self.to_run = [key for key in graph.stages if key in plans and plans[key].to_run]
        self.outcome = Outcome(cached=[key for key, plan in plans.items() if not plan.to_run and plan.state.digest])
        self.pruning = None if keep_weights else Pruning(graph, plans, store)

    def made(self, key: str, folder: Path, *, cached: bool = False) -> list[str]:
        """Note that a stage is made in `folder`, `cached`: by another command; returns its finished readers that have to run again."""
        (self.outcome.cached if cached else self.outcome.ran).append(key)
        again = self._outdated(key, folder)
        for reader in again:
            self.outcome.cached.remove(reader)
            if self.pruning:
                self.pruning.reopened(reader)
        if self.pruning:
            self.pruning.finished(key)
        return again

    def _outdated(self, key: str, folder: Path) -> list[str]:
        """The readers of a stage whose results are of another result of it; their plans become `to_run`."""
        result = (read_record(folder) or {}).get("result")
        again = []
        for reader in self.readers[key]:
            plan = self.plans.get(reader)
            if plan is None or plan.to_run or not plan.state.digest:
                continue
            if plan.state.record.get("inputs", {}).get(key) != result:
                plan.to_run, plan.why = True, f"its input {folder.name} was made again with another result"
                again.append(reader)
        return again

    def failed(self, key: str, message: str, waiting: Container[str], *, user: bool) -> list[str]:
        """Note that a stage failed; returns the stages of `waiting` that depend on it, which do not run."""
        lost = [one for one in below(key, self.readers) if one in waiting]
        self.outcome.fail(key, message, lost, user=user)
        return lost
