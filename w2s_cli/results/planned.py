"""The stages that a run planned, by its plan.json alone: for commands that remove, copy or name stages, and read no result.

* A plan that cannot be read, or was changed since it was written, is no plan: nothing is removed because of what it does not name.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from w2s_cli.results.runs import PLAN
from w2s_cli.store.files import is_broken, read_json
from w2s_cli.store.shapes import fits


class _Line(TypedDict):
    """A planned stage, as far as every w2s has written it."""

    key: str


def planned_keys(folder: Path) -> set[str] | None:
    """The stage keys in the plan of a run, also of a run by an older w2s; None if the plan cannot be read, was changed, or has no stage."""
    try:
        plan = read_json(folder / PLAN)
    except OSError:  # of another user
        return None
    if is_broken(plan):
        return None
    lines = plan.get("stages") if isinstance(plan, dict) else plan
    return {line["key"] for line in lines} if lines and fits(lines, list[_Line]) else None


def runs_of(folders: Iterable[Path], key: str) -> list[Path]:
    """The runs with the stage in their plan; their folders have its configuration."""
    return [folder for folder in sorted(folders) if f'"{key}"' in _text(folder / PLAN)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # of another user, or no text
        return ""
