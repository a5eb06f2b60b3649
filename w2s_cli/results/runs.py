"""The one rule by which commands name a run or sweep.

* A run is named by its path; by `<date>/<time>-<slug>-<digest>` or any beginning of that, of its part after the date, or of its digest; or
  by `latest`, the run that a command wrote to last.
* A name that is whole wins over those that only begin with it. What fits nothing is answered with the runs that exist, what fits several
  with those.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from w2s_cli.errors import UserError

KINDS = ("runs", "sweeps")  # folders of the outputs folder: of single jobs, and of several
CONFIG, PLAN, RESULTS = "config.yaml", "plan.json", "results.json"
FILES = (CONFIG, PLAN, RESULTS)  # that a command writes; one of them makes a folder a run
LATEST = "latest"
SHOWN = 6


def run_folders(root: Path) -> list[Path]:
    """Every run and sweep folder of an outputs folder, the one that was written to last at the end."""
    times = {folder: _written(folder) for kind in KINDS for folder in root.glob(f"{kind}/*/*")}
    return sorted((folder for folder, time in times.items() if time), key=lambda folder: (times[folder], folder))


def _written(folder: Path) -> int:
    """When a command last wrote to a run's folder, in ns; 0 if none did. Figures and reports do not count."""
    times = []
    for name in FILES:
        try:
            times.append(os.stat(f"{folder}/{name}").st_mtime_ns)
        except OSError:
            continue
    return max(times, default=0)


def find_runs(root: Path, name: str) -> list[Path]:
    """The runs that a name fits, oldest first.

    Raises:
        UserError: it fits none.
    """
    every = run_folders(root)
    if name == LATEST and every:
        return every[-1:]
    path, part = Path(name).expanduser().absolute(), name.strip("/")
    if _written(path):
        return [path]
    chosen = [folder for folder in every if path in folder.parents]
    names = {folder: _names(folder) for folder in every} if part else {}
    chosen = chosen or [folder for folder, own in names.items() if part in own]
    chosen = chosen or [folder for folder, own in names.items() if any(one.startswith(part) for one in own)]
    if not chosen:
        problem = "there is no run yet" if name == LATEST else f'no run is called "{name}"'
        raise UserError(f"{root}: {problem}.{_hint(every)}")
    return chosen


def find_run(root: Path, name: str) -> Path:
    """The one run that a name fits.

    Raises:
        UserError: it fits none, or several.
    """
    chosen = find_runs(root, name)
    if len(chosen) > 1:
        raise UserError(f'"{name}" fits {len(chosen)} runs: {_listed(chosen)}. Give more of the name.')
    return chosen[0]


def _names(folder: Path) -> tuple[str, ...]:
    """What a run may be called: with its kind and date, with its date, without, and by its digest."""
    kind, date, name = folder.parts[-3:]
    return f"{kind}/{date}/{name}", f"{date}/{name}", name, name.rpartition("-")[2]


def _hint(every: list[Path]) -> str:
    if not every:
        return " w2s train makes one."
    return f" The latest: {_listed(every)}. A run is named by its path, by the beginning of its date, time or digest, or by {LATEST}."


def _listed(folders: Iterable[Path]) -> str:
    last = list(folders)[-SHOWN:]
    return ", ".join(f"{folder.parent.name}/{folder.name}" for folder in last)
