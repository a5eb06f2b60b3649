"""Settings: the results that differ only in their seed, with figures over the seeds.

* Two entries belong to one setting if their fields and their family are equal; the command recorded the family.
* A summary over all seeds is used unchanged. Seeds of separate commands are joined here: their predictions are read, and the figures
  computed by the code of `summary`; intervals are never averaged. The joined figures are cached in outputs/.cache/tables.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.data.artifacts import PREDICTIONS
from w2s_cli.paths import PACKAGE
from w2s_cli.results.cautions import of_metrics
from w2s_cli.results.fields import value_of
from w2s_cli.results.reader import Entry
from w2s_cli.results.shapes import Metrics
from w2s_cli.results.stages import Stage
from w2s_cli.results.trainings import over_runs
from w2s_cli.store.files import SEAL, is_broken, read_configs, read_json, write_sealed
from w2s_cli.store.shapes import fits
from w2s_cli.store.store import Store

MANY = 50  # number of settings with seeds of separate commands from which joining takes seconds


@dataclass
class Setting:
    """All seeds of one configuration."""

    entry: Entry  # entry with the fields and configuration of the setting
    seeds: list[int]
    keys: list[str]  # of the stages behind the figures: a summary, or evaluate stages
    runs: list[Entry]  # the evaluate stages, one per seed
    metrics: dict[str, Any]
    cautions: list[str] = field(default_factory=list)

    def value(self, name: str) -> Any:
        return value_of(self.entry, name)

    def warnings(self) -> list[str]:
        """The cautions of its figures."""
        return of_metrics(self.entry, self.metrics, self.seeds)


def by_seed(entries: Sequence[Entry]) -> list[Setting]:
    """Each seed as a setting of its own, once, in the order of the settings."""
    singles = [group[seed] for group in _groups(entries) for seed in sorted(group)]
    return [Setting(entry, entry.seeds, [entry.key], [entry], entry.metrics) for entry in singles]


def _groups(entries: Sequence[Entry]) -> list[dict[int, Entry]]:
    """The entries of single seeds by setting: seed → its latest entry."""
    groups: dict[str, dict[int, Entry]] = {}
    for entry in entries:
        if not entry.summarises:
            identity = f"{entry.stage} {entry.family} {json.dumps(entry.fields, sort_keys=True, default=str)}"
            groups.setdefault(identity, {})[entry.seeds[0] if entry.seeds else 0] = entry
    return list(groups.values())


def settings(entries: Sequence[Entry], store: Store) -> list[Setting]:
    """The entries as settings over their seeds, in the order of their first entry."""
    groups, summaries = _groups(entries), [entry for entry in entries if entry.summarises]
    by_runs = {frozenset(entry.inputs.get("runs", ())): entry for entry in summaries}
    result = []
    separate = sum(
        len(group) > 1 and frozenset(entry.key for entry in group.values()) not in by_runs for group in groups
    )
    if separate > MANY and not (store.cache / "tables").exists():
        print(
            f"joining the seeds of {separate} settings from their predictions, once; the next table is fast",
            file=sys.stderr,
        )
    for group in groups:
        runs = [group[seed] for seed in sorted(group)]
        result.append(_setting(runs, by_runs.get(frozenset(entry.key for entry in runs)), store))
    own = [entry for group in groups for entry in group.values()]
    keys, families = {entry.key for entry in own}, {entry.family for entry in own} - {""}
    for entry in summaries:  # of a results.json without its single seeds
        if entry.family not in families and not keys & set(entry.inputs.get("runs", ())):
            result.append(Setting(entry, entry.seeds, [entry.key], [], entry.metrics))
    return result


def _setting(runs: list[Entry], summary: Entry | None, store: Store) -> Setting:
    seeds = [entry.seeds[0] if entry.seeds else 0 for entry in runs]
    if summary is not None:
        return Setting(runs[0], seeds, [summary.key], runs, summary.metrics)
    if len(runs) == 1:
        return Setting(runs[0], seeds, [runs[0].key], runs, runs[0].metrics)
    folders = {entry.key: store.folder(entry.key) for entry in runs}
    stored = [entry for entry in runs if Stage(entry.key, folders[entry.key]).has(PREDICTIONS)]
    if not stored:
        last = runs[-1]
        note = f"the predictions of seeds {seeds} are no longer stored, or damaged, so only seed {seeds[-1]} is shown"
        return Setting(last, seeds[-1:], [last.key], [last], last.metrics, [note])
    cautions = []
    if len(stored) < len(runs):
        missing_seeds = [entry.seeds[0] for entry in runs if entry not in stored]
        cautions = [f"the predictions of seeds {missing_seeds} are no longer stored, or damaged; they are left out"]
    results = [folder / "result" for entry in stored if (folder := folders[entry.key])]
    metrics = stored[0].metrics
    if len(stored) > 1:
        by_rows = joined(stored, results, store.own(store.cache / "tables"))
        metrics = over_runs(by_rows, [entry.metrics for entry in stored])
    return Setting(stored[0], [e.seeds[0] for e in stored], [e.key for e in stored], stored, metrics, cautions)


def with_seeds(setting: Setting, seeds: Collection[int]) -> Setting | None:
    """The setting over these of its seeds only; None if it lacks one of them, or has no predictions of its seeds one by one."""
    if set(setting.seeds) == set(seeds):
        return setting
    runs = [entry for entry in setting.runs if entry.seeds[0] in seeds]
    part = _setting(runs, None, runs[0].run.store) if runs and len(runs) == len(seeds) else None
    return part if part is not None and set(part.seeds) == set(seeds) else None


def joined(runs: Sequence[Entry], folders: Sequence[Path], cache: Path | None) -> dict[str, Any]:
    """The metrics of several evaluate stages, as of one `summary` stage."""
    confidence = runs[0].metrics["confidence"]
    draws = max(int(_top_level(entry, "bootstrap", 2000)) for entry in runs)
    files = [folder / PREDICTIONS for folder in folders]
    code = [*sorted((PACKAGE / "statistics").glob("*.py")), PACKAGE / "data" / "artifacts" / "predictions.py"]
    redrawn = _block(runs[0], "data").get("seed") is None
    stamp = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in [*files, *code]]
    name = hashlib.sha256(json.dumps([stamp, confidence, draws, redrawn]).encode()).hexdigest()[:24]
    cached: dict[str, Any] | None = read_json(cache / f"{name}.json") if cache else None
    if cached and fits(cached, Metrics) and not is_broken(cached):
        return {name: value for name, value in cached.items() if name != SEAL}
    from w2s_cli.data.artifacts.predictions import read_predictions
    from w2s_cli.statistics.report import report

    _, truth, by_role = read_predictions(folders)
    metrics = report(truth, by_role, draws=draws, confidence=confidence, redrawn=redrawn)
    if cache:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            write_sealed(cache / f"{name}.json", metrics)
        except OSError:  # a read-only store costs time, not correctness
            pass
    return metrics


def _block(entry: Entry, name: str) -> dict[str, Any]:
    """A group of a configuration, read without parsing the rest; {} without one."""
    written = next(iter(read_configs(entry.blocks.get(name, ""))), {}).get(name)
    return written if isinstance(written, dict) else {}


def _top_level(entry: Entry, name: str, default: float) -> float:
    """A number at the top level of a configuration, read without parsing the rest."""
    written = entry.blocks.get(name, "").partition(":")[2].strip()
    return float(written) if written.replace(".", "", 1).isdigit() else default
