"""keep_weights=false: the weights of a model are removed as soon as no stage of the command can read them any more.

* A long sweep then keeps the models of a few jobs, not of all jobs, even if it is interrupted.
* A model waits for its readers and for all stages that these depend on, because a stage with a new result makes finished readers run
  again. Failed stages and the stages that depend on them run in the next command, so their models stay.
* Weights that another process reads, that another command holds, or that cannot be removed, stay. No result depends on the removal.
"""

import contextlib
from collections.abc import Collection, Iterable

from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.states import Planned
from w2s_cli.store.claims import claim
from w2s_cli.store.holds import holder, removing
from w2s_cli.store.places import StoreError
from w2s_cli.store.publishing import prune_weights
from w2s_cli.store.store import Store


class Pruning:
    """The stages that each model of a command still waits for."""

    def __init__(self, graph: Graph, plans: dict[str, Planned], store: Store) -> None:
        self.store = store
        self.models: dict[str, list[str]] = {}  # stage → models that wait for it if it has to run
        self.open: dict[str, set[str]] = {}  # model → stages that have to run before its removal
        readers: dict[str, list[str]] = {}
        for key in plans:
            for above in graph.stages[key].upstream():
                readers.setdefault(above, []).append(key)
        for model in passing_models(graph, plans):
            awaited = graph.upstream_closure([model, *readers.get(model, [])])
            self.open[model] = {key for key in awaited if plans[key].to_run}
            for key in awaited:
                self.models.setdefault(key, []).append(model)
        for model in [model for model, open_stages in self.open.items() if not open_stages]:
            self._remove(model)

    def reopened(self, key: str) -> None:
        """A finished stage has to run again."""
        for model in self.models.get(key, []):
            if model in self.open:
                self.open[model].add(key)

    def finished(self, key: str) -> None:
        """A stage is done."""
        for model in self.models.get(key, []):
            if model in self.open:
                self.open[model].discard(key)
                if not self.open[model]:
                    self._remove(model)

    def _remove(self, model: str) -> None:
        del self.open[model]
        prune(self.store, [model])


def passing_models(graph: Graph, plans: Collection[str]) -> list[str]:
    """Keys of the models that other stages of a plan read. A model without a reader is a result of the command."""
    read = {above for key in plans for above in graph.stages[key].upstream()}
    return [key for key in plans if graph.stages[key].of.traits.gives == "model" and key in read]


def prune(store: Store, models: Iterable[str]) -> None:
    """Remove the weights of finished models that no process reads and no other command holds."""
    for key in models:
        folder = store.folder(key)
        if folder is None:
            continue
        # suppressed: a full disk, another user's stage in a shared folder, or one outside of the store
        with contextlib.suppress(OSError, StoreError), claim(folder) as claimed, removing(store.root):
            if claimed and not holder(store.root, key):
                prune_weights(folder)
