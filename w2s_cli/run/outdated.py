"""Finished stages that have to run again, because an input was made again with another result."""

from pathlib import Path

from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.states import Planned
from w2s_cli.store.shapes import read_record


def outdated_readers(key: str, graph: Graph, plans: dict[str, Planned], folder: Path) -> list[str]:
    """Readers of the stage `key`, just made in `folder`, whose results are of another result of it; their plans become `to_run`."""
    result = (read_record(folder) or {}).get("result")
    outdated = []
    for stage in graph.stages.values():
        plan = plans.get(stage.key)
        if plan is None or plan.to_run or not plan.state.digest or key not in stage.upstream():
            continue
        if plan.state.record.get("inputs", {}).get(key) != result:
            plan.to_run, plan.why = True, f"its input {folder.name} was made again with another result"
            outdated.append(stage.key)
    return outdated
