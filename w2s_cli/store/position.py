"""The position of a running stage for other processes: progress.json in the stage's folder, beside the positions of its checkpoints.

The worker replaces the file every few seconds without waiting for the disk. It is for people and views only: after a crash it may be old
or cut short, and then it reads as missing.
"""

import json
import os
from pathlib import Path
from typing import Any, TypedDict

from w2s_cli.store.files import read_json
from w2s_cli.store.shapes import Time, fits

PROGRESS = "progress.json"
EVERY_S = 2.0  # between two writes


class _Position(TypedDict):
    """state.json of a checkpoint."""

    step: int
    total: int


class _Progress(_Position):
    """progress.json."""

    event: str
    at: Time


def write_progress(folder: Path, event: dict[str, Any], at: float) -> None:
    """Replace progress.json by a progress event of the time `at`."""
    temporary = folder / f".{PROGRESS}.{os.getpid()}.tmp"
    try:
        temporary.write_text(json.dumps({**event, "at": at}), encoding="utf-8")
        os.replace(temporary, folder / PROGRESS)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_progress(folder: Path) -> dict[str, Any] | None:
    """The last progress event of the stage's worker; None without one."""
    written = read_json(folder / PROGRESS)
    return written if fits(written, _Progress) else None


def position(folder: Path, *, running: bool) -> str:
    """'step 400/1200' of a running stage as its worker told last, of another one at its newest checkpoint; '' without one."""
    newest = next(iter(sorted(folder.glob("work/checkpoint-*/state.json"), reverse=True)), None)
    saved = read_json(newest) if newest else None
    told = read_progress(folder) if running else None
    step = told or (saved if fits(saved, _Position) else None)
    return f"step {step['step']}/{step['total']}" if step else ""
