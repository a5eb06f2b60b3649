"""The state of every stage of a command's graph, and whether and why the stage has to run.

* A stage runs if it is a target and not done, if a stage to run needs it, or if its result is damaged or outdated.
* A finished stage that no stage to run reads is left alone, even if its inputs are gone.
* `outdated`: the digest of an input changed since the result was made. `drift`: the code was edited without a new version; this is
  shown, but the stage does not run again. `pruned` weights are made again only for a stage that needs them.
* `remote`: the stage is not finished here, and complete in another store, so it does not run. A target, and what a stage to run reads, is
  to be copied whole; of the others a table reads only records and figures.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.provenance import fingerprints
from w2s_cli.store.claims import owner
from w2s_cli.store.store import State, Store

REMOTE = "remote"
UNFINISHED = ("missing", "resumable", "failed", "damaged")  # states in which a remote's result is taken


class Offered(Protocol):
    """A finished stage of another store."""

    @property
    def url(self) -> str:
        """The store."""

    def has(self, names: Iterable[str]) -> bool:
        """Whether it has these files of the result."""


@dataclass
class Planned:
    """One stage of a plan."""

    state: State
    word: str  # the state's word, or outdated | drift | remote
    why: str
    to_run: bool = False
    pull: Literal["", "figures", "whole"] = ""  # what is to be copied from a remote, unless the stage runs

    @property
    def at_hand(self) -> bool:
        """Whether the result exists, here or in another store."""
        return self.state.digest is not None or self.word == REMOTE


def survey(
    graph: Graph,
    store: Store,
    targets: Collection[str],
    force: Collection[str],
    offered: Mapping[str, Offered],
) -> dict[str, Planned]:
    """key → the stage's state and whether it has to run, for the targets and all stages that they depend on.

    Args:
        force: stages that run again.
        offered: key → finished stage of another store.
    """
    wanted = graph.upstream_closure(list(targets))
    order = [stage for key, stage in graph.stages.items() if key in wanted]
    kinds = {stage.kind: stage.of.path for stage in order if store.folder(stage.key)}  # what is not made has no drift
    code = fingerprints(kinds, store.cache / "code.json")
    plans: dict[str, Planned] = {}
    for stage in order:
        plans[stage.key] = look(stage, store, plans, code)
        if stage.key in offered and plans[stage.key].word in UNFINISHED:
            pull: Literal["figures", "whole"] = "whole" if stage.key in targets else "figures"
            plans[stage.key] = Planned(plans[stage.key].state, REMOTE, offered[stage.key].url, pull=pull)
    for key in force:
        plans[key].to_run, plans[key].why = True, "forced"
    for stage in reversed(order):
        plan = plans[stage.key]
        if plan.word in ("damaged", "outdated") or (stage.key in targets and not plan.at_hand):
            plan.to_run = True
        if plan.to_run:
            for key in stage.upstream():
                above = plans[key]
                if not above.at_hand:
                    above.to_run = True
                elif above.word == REMOTE or (above.state.pruned and _offers(offered.get(key), above.state)):
                    above.pull = "whole"
                elif above.state.pruned and not above.to_run:
                    above.to_run, above.why = True, f"its weights were removed and {stage.name} needs them"
    return plans


def _offers(stage: Offered | None, state: State) -> bool:
    """Whether another store has the weights that a state lacks."""
    return stage is not None and stage.has(state.record["pruned"])


def look(stage: Stage, store: Store, above: dict[str, Planned], code: dict[str, str]) -> Planned:
    """The state of one stage, compared with its inputs and with the code."""
    folder = store.folder(stage.key)
    if folder is None:
        older = store.has_older(stage.kind, stage.slug)
        return Planned(State("missing"), "missing", "the stage of an older w2s cannot be used" if older else "")
    store.compare(folder, stage.identity)
    state = store.state(stage.key)
    if state.word == "running":
        return Planned(state, "running", f"{owner(folder)} is running it")
    if state.word != "done":
        return Planned(state, state.word, state.detail)
    recorded = state.record.get("inputs", {})
    for key in stage.upstream():
        now = above[key].state.digest if key in above else None
        if now is not None and recorded.get(key) not in (None, now):
            return Planned(state, "outdated", f"its input {above_name(key, store)} was made again with another result")
    if state.record.get("code") not in (None, code[stage.kind]):
        return Planned(state, "drift", "the code of this stage kind has changed since; w2s train --force redoes it")
    return Planned(state, "done", "weights removed" if state.pruned else "")


def above_name(key: str, store: Store) -> str:
    """The folder name of a stage, for messages."""
    folder = store.folder(key)
    return folder.name if folder else key
