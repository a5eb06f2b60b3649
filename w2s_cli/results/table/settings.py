"""Results that differ in their seed only are one setting, with the figures over its seeds.

* Two entries belong together when their fields and their family agree: the command wrote down what the seeds of a setting share.
* A summary that covers all seeds is taken as it is. Seeds that were run by separate commands are joined here: their predictions are read
  and the figures computed by the code that `summary` uses; intervals are never averaged. The outcome is kept in outputs/.cache/tables.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.data.artifacts import PREDICTIONS
from w2s_cli.paths import PACKAGE
from w2s_cli.results.fields import value_of
from w2s_cli.results.reader import Entry
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.store import Store

MANY = 50  # settings whose seeds were run apart; so many take seconds the first time
CODE = (
    "statistics/report",
    "statistics/intervals",
    "statistics/figures",
    "data/artifacts/predictions",
)  # what joined figures are computed by


@dataclass
class Setting:
    """All seeds of one configuration."""

    entry: Entry  # whose fields and configuration stand for all
    seeds: list[int]
    keys: list[str]  # of the stages behind the figures: a summary, or evaluate stages
    runs: list[Entry]  # the evaluate stages, one per seed
    metrics: dict[str, Any]
    cautions: list[str] = field(default_factory=list)

    def value(self, name: str) -> Any:
        return value_of(self.entry, name)


def settings(entries: Sequence[Entry], store: Store, *, by_seed: bool = False) -> list[Setting]:
    """The entries as settings, in the order in which they first came; `by_seed` keeps the seeds apart."""
    singles = [entry for entry in entries if not entry.summarises]
    summaries = [entry for entry in entries if entry.summarises]
    if by_seed:
        return [_setting([entry], None, store) for entry in singles]
    groups: dict[str, dict[int, Entry]] = {}
    for entry in singles:
        same = f"{entry.stage} {entry.family} {json.dumps(entry.fields, sort_keys=True, default=str)}"
        groups.setdefault(same, {})[entry.seeds[0] if entry.seeds else 0] = entry  # of one seed the latest
    by_runs = {frozenset(entry.inputs.get("runs", ())): entry for entry in summaries}
    seen = {entry.key for group in groups.values() for entry in group.values()}
    made = []
    apart = sum(
        len(group) > 1 and frozenset(entry.key for entry in group.values()) not in by_runs for group in groups.values()
    )
    if apart > MANY and not (store.cache / "tables").exists():
        print(
            f"joining the seeds of {apart} settings from their predictions, once; the next table is fast",
            file=sys.stderr,
        )
    for group in groups.values():
        runs = [group[seed] for seed in sorted(group)]
        made.append(_setting(runs, by_runs.get(frozenset(entry.key for entry in runs)), store))
    for entry in summaries:  # of a results.json that lists no runs
        if not seen & set(entry.inputs.get("runs", ())):
            made.append(Setting(entry, entry.seeds, [entry.key], [], entry.metrics))
    return made


def _setting(runs: list[Entry], summary: Entry | None, store: Store) -> Setting:
    seeds = [entry.seeds[0] if entry.seeds else 0 for entry in runs]
    if summary is not None:
        return Setting(runs[0], seeds, [summary.key], runs, summary.metrics)
    if len(runs) == 1:
        return Setting(runs[0], seeds, [runs[0].key], runs, runs[0].metrics)
    folders = {entry.key: store.folder(entry.key) for entry in runs}
    kept = [entry for entry in runs if (folder := folders[entry.key]) and (folder / "result" / PREDICTIONS).is_file()]
    if not kept:
        last = runs[-1]
        lost = f"the predictions of seeds {seeds} are no longer stored, so only seed {seeds[-1]} is shown"
        return Setting(last, seeds[-1:], [last.key], [last], last.metrics, [lost])
    cautions = []
    if len(kept) < len(runs):
        gone = [entry.seeds[0] for entry in runs if entry not in kept]
        cautions = [f"the predictions of seeds {gone} are no longer stored; they are left out"]
    results = [folder / "result" for entry in kept if (folder := folders[entry.key])]
    metrics = joined(kept, results, store.cache / "tables") if len(kept) > 1 else kept[0].metrics
    return Setting(kept[0], [e.seeds[0] for e in kept], [e.key for e in kept], kept, metrics, cautions)


def joined(runs: Sequence[Entry], folders: Sequence[Path], cache: Path | None) -> dict[str, Any]:
    """The metrics of several evaluate stages as one `summary` stage would have them."""
    confidence = runs[0].metrics["confidence"]
    draws = max(int(_top_level(entry, "bootstrap", 2000)) for entry in runs)
    files = [folder / PREDICTIONS for folder in folders]
    code = [PACKAGE / f"{name}.py" for name in CODE]
    stamp = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in [*files, *code]]
    name = hashlib.sha256(json.dumps([stamp, confidence, draws]).encode()).hexdigest()[:24]
    kept = read_json(cache / f"{name}.json") if cache else None
    if isinstance(kept, dict):
        return kept
    from w2s_cli.data.artifacts.predictions import read_predictions
    from w2s_cli.statistics.report import report

    _, truth, by_role = read_predictions(folders)
    metrics = report(truth, by_role, draws=draws, confidence=confidence)
    if cache:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            write_json(cache / f"{name}.json", metrics)
        except OSError:  # a store that cannot be written costs time, not correctness
            pass
    return metrics


def _top_level(entry: Entry, name: str, default: float) -> float:
    """A number at the top of a configuration, without parsing the rest."""
    written = entry.blocks.get(name, "").partition(":")[2].strip()
    return float(written) if written.replace(".", "", 1).isdigit() else default
