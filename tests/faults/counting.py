"""Counts of the faults that the tests made and of what they did, as lines of JSON in the file that `W2S_FAULT_COUNTS` names.

* Several test processes add lines to one file; `scripts/reliability` makes docs/reliability.json of it. Without the variable nothing is
  written.
* A test counts before it asserts, so a failure stands in the counts too.
* lost: a finished stage that is gone. wrong: a result, a message or an exit code other than the promised one. stuck: a stage that nobody
  can claim afterwards, or a command that does not end.
"""

import fcntl
import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.conftest import ROOT, environment
from tests.inside import run_inside
from w2s_cli.store import publishing
from w2s_cli.store.claims import is_claimed
from w2s_cli.store.shapes import read_record

VARIABLE = "W2S_FAULT_COUNTS"


@dataclass
class Tally:
    """The faults of one test."""

    kind: str  # kills, signals, disk, damage, shapes, races, fuzz, …: a line of the table
    of: str  # what they were done to
    made: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)  # the faults by a further property
    began: float = field(default_factory=time.time)

    def add(self, note: str | None = None, count: int = 1) -> None:
        """Count a fault."""
        self.made += count
        if note:
            self.notes[note] = self.notes.get(note, 0) + count

    def close(self) -> None:
        """Write the counts, then fail if anything was lost, wrong or stuck, or nothing was done."""
        ended = time.time()
        line = {**asdict(self), "seconds": round(ended - self.began, 1), "ended": ended}
        line |= {name: len(line[name]) for name in ("lost", "wrong", "stuck")} | {"commit": _commit()}
        if path := os.environ.get(VARIABLE):
            with Path(path).open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(json.dumps(line) + "\n")
        assert self.made
        assert not self.lost, self.lost
        assert not self.wrong, self.wrong
        assert not self.stuck, self.stuck


def finished(outputs: Path) -> dict[str, str]:
    """Stage → digest of its result, of every finished stage whose bytes are those of its manifest."""
    found = {}
    for path in outputs.glob("stages/*/*/record.json"):
        record = read_record(path.parent)
        if record is not None and not publishing.damage(path.parent, full=True):
            found[path.parent.name] = str(record["result"])
    return found


def unclaimable(outputs: Path, within_s: float = 20.0) -> list[str]:
    """The stages that are still claimed after so many seconds, though no command runs."""
    end = time.monotonic() + within_s
    claimed = list(outputs.glob("stages/*/*-*"))
    while (claimed := [folder for folder in claimed if is_claimed(folder)]) and time.monotonic() < end:
        time.sleep(0.05)
    return [folder.name for folder in claimed]


def left_behind(outputs: Path) -> list[str]:
    """Files of processes that have ended: owners of claims, holds, leases, temporary files and folders."""
    patterns = ("stages/**/owner.json", "**/hold-*", "**/*.lease", "**/*.tmp", "**/.*.tmp", "**/result.tmp")
    return sorted({str(path.relative_to(outputs)) for pattern in patterns for path in outputs.glob(pattern)})


def left_after_gc(outputs: Path) -> list[str]:
    """`left_behind` after `w2s gc` a day later."""
    for name in left_behind(outputs):
        os.utime(outputs / name, times=(yesterday := time.time() - 86400, yesterday))
    done = run_inside(["gc", "--yes", "--days", "0.5", f"outputs={outputs}"], outputs.parent, environment())
    return [*left_behind(outputs), *([] if done.returncode == 0 else [done.stderr])]


def _commit() -> str:
    """The checkout of the tests and of the code that they ran."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() or "no checkout"
