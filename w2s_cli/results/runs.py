"""The one rule by which commands name a run or sweep.

* A run is named by its path; by `<date>/<time>-<slug>-<digest>` or any beginning of it, of its part after the date, or of its digest; or
  by `latest`, the run written last.
* A complete name wins over longer names that begin with it. The error for a name without a run lists the latest runs; the error for an
  ambiguous name lists its runs.
"""

import os
from collections.abc import Iterable
from glob import escape
from pathlib import Path

from w2s_cli.errors import UserError
from w2s_cli.store.places import RUNS, check_name, command_line

CONFIG, PLAN, RESULTS = "config.yaml", "plan.json", "results.json"
FILES = (CONFIG, PLAN, RESULTS)  # files that a command writes; a folder with one of them is a run
LATEST = "latest"
SHOWN = 6


def run_folders(root: Path) -> list[Path]:
    """All run and sweep folders of an outputs folder, in the order of their last writing."""
    times = {folder: _written(folder) for kind in RUNS for folder in root.glob(f"{kind}/*/*")}
    return sorted((folder for folder, time in times.items() if time), key=lambda folder: (times[folder], folder))


def _written(folder: Path) -> int:
    """The time of the last writing by a command, in ns; 0 for no run. Figures and reports do not count."""
    times = []
    for name in FILES:
        try:
            times.append(os.stat(f"{folder}/{name}").st_mtime_ns)
        except OSError:
            continue
    return max(times, default=0)


def find_runs(root: Path, name: str) -> list[Path]:
    """The runs that fit a name, oldest first.

    Raises:
        StoreError: neither a name nor a path.
        UserError: no run fits.
    """
    all_runs = run_folders(root)
    if name == LATEST and all_runs:
        return all_runs[-1:]
    if os.sep not in name and name not in (os.curdir, os.pardir):
        check_name(name, "a run is named by")
    path, part = Path(os.path.expanduser(name)).absolute(), name.strip("/")
    if same := [folder for folder in all_runs if os.path.realpath(folder) == os.path.realpath(path)]:
        return same  # spelled as a folder of the store, for which the store decides
    if _written(path):
        return [path]
    chosen = [folder for folder in all_runs if path in folder.parents]
    names = {folder: _names(folder) for folder in all_runs} if part else {}
    chosen = chosen or [folder for folder, own_names in names.items() if part in own_names]
    chosen = chosen or [
        folder for folder, own_names in names.items() if any(own_name.startswith(part) for own_name in own_names)
    ]
    if not chosen:
        problem = "there is no run yet" if name == LATEST else f'no run is called "{name}"'
        if name != LATEST and not path.exists():
            problem = f"there is no folder {path}, and {problem}"
        if os.sep not in part and part and any(root.glob(f"stages/*/*-{escape(part)}*")):
            raise UserError(
                f'"{name}" is the key of a stage, and not a run: {command_line(root, "show", name)}.{_hint(all_runs)}'
            )
        raise UserError(f"{root}: {problem}.{_hint(all_runs)}")
    return chosen


def find_run(root: Path, name: str) -> Path:
    """The one run that fits a name.

    Raises:
        UserError: no run fits, or several.
    """
    chosen = find_runs(root, name)
    if len(chosen) > 1:
        raise UserError(f'"{name}" fits {len(chosen)} runs: {_listed(chosen)}. Give more of the name.')
    return chosen[0]


def whole_run(root: Path, name: str) -> Path | None:
    """The run in the outputs folder with the path `name`, or with this whole name; None without one."""
    if not Path(name).name:  # "", "." and "/": the current folder and the root are not named by nothing
        return None
    path = os.path.realpath(os.path.expanduser(name))
    same = [folder for folder in run_folders(root) if name in _names(folder)[:-1] or os.path.realpath(folder) == path]
    return same[0] if len(same) == 1 else None


def _names(folder: Path) -> tuple[str, ...]:
    """The names of a run: with its kind and date, with its date, without both, and its digest."""
    kind, date, name = folder.parts[-3:]
    return f"{kind}/{date}/{name}", f"{date}/{name}", name, name.rpartition("-")[2]


def _hint(all_runs: list[Path]) -> str:
    if not all_runs:
        return " w2s train makes one."
    return f" The latest: {_listed(all_runs)}. A run is named by its path, by the beginning of its date, time or digest, or by {LATEST}."


def _listed(folders: Iterable[Path]) -> str:
    last = list(folders)[-SHOWN:]
    return ", ".join(f"{folder.parent.name}/{folder.name}" for folder in last)
