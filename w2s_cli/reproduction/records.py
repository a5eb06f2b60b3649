"""The record of a reproduction, outputs/reproductions/NAME-SCALE.json, and the sums over several records.

The record has the key and the wall seconds of every stage. So a sum counts the shared stages of experiments once, and a command with
only finished stages still has their cost.
"""

from pathlib import Path
from typing import Any, TypedDict

from w2s_cli.errors import UserError
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.states import Planned
from w2s_cli.reproduction.comparison import Row
from w2s_cli.reproduction.experiment import Experiment
from w2s_cli.store.files import is_broken, read_json, write_sealed
from w2s_cli.store.shapes import fits, read_record
from w2s_cli.store.store import Store


class Written(TypedDict):
    """The record, as far as sums over several read it."""

    experiment: str
    scale: str
    asked: int
    distinct: int
    ran: int
    cached: int
    seconds: float
    stages: dict[str, float]


def place(experiment: Experiment, scale: str, store: Store) -> Path:
    """The path of the record of an experiment.

    Raises:
        StoreError: the path is a link, or lies behind one.
    """
    return store.own(store.root / "reproductions" / f"{experiment.name}-{scale}.json")


def write(
    path: Path,
    experiment: Experiment,
    scale: str,
    graph: Graph,
    plans: dict[str, Planned],
    store: Store,
    rows: list[Row],
    *,
    seconds: float,
    folder: Path,
) -> None:
    """Write the record of a finished reproduction.

    Args:
        path: of `place`.
        plans: the plans before the run, with the stages that had to run.
        seconds: wall time of the command.
        folder: folder of the run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ran = sum(plan.to_run for plan in plans.values())
    record = {
        "experiment": experiment.name,
        "scale": scale,
        "comparable": experiment.comparable(scale),
        "dropped": experiment.dropped(scale),
        "asked": graph.asked_for(graph.stages),
        "distinct": len(graph.stages),
        "ran": ran,
        "cached": len(plans) - ran,
        "seconds": round(seconds, 1),
        "run": folder.relative_to(store.root).as_posix(),
        "stages": {key: _took(store, key) for key in sorted(graph.stages)},
        "rows": [row.record() for row in rows],
    }
    write_sealed(path, record)


def _took(store: Store, key: str) -> float:
    """Wall seconds of one finished stage."""
    folder = store.folder(key)
    record = (read_record(folder) if folder else None) or {}
    return round(float(record.get("wall_s", 0.0)), 2)


def summary(store: Store) -> tuple[list[list[str]], list[str]]:
    """(table, notes) of all records of an outputs folder: stages asked for, distinct, run, cached, minutes of the command and
    of the stages, and the totals.

    Raises:
        UserError: no record.
    """
    paths = sorted((store.root / "reproductions").glob("*.json"))
    written = [record for path in paths if fits(record := read_json(path), Written)]
    records: list[dict[str, Any]] = [record for record in written if not is_broken(record)]
    if not records:
        raise UserError(f"{store.root} holds no reproductions yet: w2s reproduce NAME makes one.")
    head = ["experiment", "scale", "asked for", "distinct", "ran", "cached", "minutes", "of stages"]
    rows = [head]
    for record in records:
        minutes = sum(record["stages"].values()) / 60
        counts = [str(record[name]) for name in ("asked", "distinct", "ran", "cached")]
        rows.append([record["experiment"], record["scale"], *counts, f"{record['seconds'] / 60:.1f}", f"{minutes:.1f}"])
    asked, separate = sum(record["asked"] for record in records), sum(record["distinct"] for record in records)
    stages = {key: seconds for record in records for key, seconds in record["stages"].items()}
    sums = [str(sum(record[name] for record in records)) for name in ("ran", "cached")]
    rows.append(["all", "", str(asked), str(len(stages)), *sums])
    rows[-1] += [f"{sum(r['seconds'] for r in records) / 60:.1f}", f"{sum(stages.values()) / 60:.1f}"]
    notes = [
        f"{len(records)} experiments ask for {asked:,} stages; {len(stages):,} of them are distinct "
        f"({100 * len(stages) / max(asked, 1):.0f} %). Without sharing between experiments they need {separate:,}.",
        "minutes: time of the last command; of stages: time of its stages when they ran; the sum counts a shared stage once",
    ]
    if changed := len(written) - len(records):
        notes.append(
            f"left out: {changed} that were changed since they were written; w2s reproduce NAME writes them again"
        )
    return rows, notes
