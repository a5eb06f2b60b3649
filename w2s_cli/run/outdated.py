"""Finished stages that have to run again, because an input was made again with another result."""

from collections.abc import Iterable
from pathlib import Path

from w2s_cli.pipeline.states import Planned
from w2s_cli.store.shapes import read_record


def outdated(key: str, readers: Iterable[str], plans: dict[str, Planned], folder: Path) -> list[str]:
    """Those `readers` of the stage `key`, just made in `folder`, whose results are of another result of it; their plans become `to_run`."""
    result = (read_record(folder) or {}).get("result")
    again = []
    for reader in readers:
        plan = plans.get(reader)
        if plan is None or plan.to_run or not plan.state.digest:
            continue
        if plan.state.record.get("inputs", {}).get(key) != result:
            plan.to_run, plan.why = True, f"its input {folder.name} was made again with another result"
            again.append(reader)
    return again
