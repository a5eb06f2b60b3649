"""The figure of a cell from a setting's metrics: accuracies, PGR (of accuracy or AUROC, over own or mean baselines), or any dotted path.

* A metric is a short name or a dotted path into the metrics of an evaluate stage: pgr, student, weak.auroc, agreement.when_weak_wrong,
  misfit.squared. `.interval` after a name means the interval alone, as a column of its own.
* PGR over a gap that may be zero is not a number: the cell has a flag, and results.json still has the ratio.
* With `baselines=mean` weak supervisor and ceiling are means over all their seeds in the outputs folder (as in the W2SG notebook);
  their label stages distinguish them. The interval is then the student's alone, with a fixed gap.
* Several settings in one cell (pairs of models) are one figure: the median, for PGR with the paper's exclusion rule, or the mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.results.table.settings import Setting
from w2s_cli.results.text_table import REASONS
from w2s_cli.statistics import ROLES

SHORT = {
    "accuracy": "student",
    "auroc": "student.auroc",
    "ece": "student.ece",
    "gap": "differences.ceiling_minus_weak",
    "gain": "differences.student_minus_weak",
    "agreement": "agreement.overall",
    "labels": "student.labels",  # accuracy of the labels on the rows that the student learned from
}
PGR = {"pgr": "accuracy", "pgr_auroc": "auroc"}  # metric → the figure of its ratio
NOISE, BELOW = REASONS  # flags of a PGR that is no number
DOUBT = "!"  # after a doubtful figure
RULES = ("median", "median_runs", "mean")
BASELINES = ("per_seed", "mean")
WHAT = {
    "weak": ("data", "train", "weak", "labels"),
    "ceiling": ("data", "train", "strong", "ceiling"),
}  # groups of the configuration behind a baseline


@dataclass(frozen=True)
class Figure:
    """One number of a table, or the reason for a missing number."""

    value: float | None
    interval: tuple[float, float] | None = None
    flag: str | None = None
    counts: dict[str, int] = field(default_factory=dict)  # for an aggregate: kept, same_model, ceiling_not_above_weak
    interval_only: bool = False
    doubtful: bool = False  # a role behind it has learned nothing that shows (statistics.doubts)


class Baselines:
    """Mean accuracy and AUROC of every weak supervisor and ceiling over all stored seeds."""

    def __init__(self, every: Iterable[Setting]) -> None:
        self._seen: dict[tuple[str, str], dict[str, tuple[int, str, dict[str, float]]]] = {}
        for setting in every:
            for run in setting.runs:
                for role in WHAT:
                    if role in run.metrics and role in run.inputs:
                        figures = {name: run.metrics[role][name] for name in ("accuracy", "auroc")}
                        seen = self._seen.setdefault((role, _what(setting, role)), {})
                        seen[str(run.inputs[role])] = (run.seeds[0], str(run.fields.get("method")), figures)

    def figures(self, setting: Setting, role: str) -> list[dict[str, float]]:
        """The figures of a role, one per seed; if methods train the role differently, of the setting's own method."""
        stored = list(self._seen.get((role, _what(setting, role)), {}).values())
        if len({seed for seed, _, _ in stored}) < len(stored):
            stored = [run for run in stored if run[1] == str(setting.entry.fields.get("method"))]
        return [figures for _, _, figures in stored]

    def mean(self, setting: Setting, role: str, kind: str) -> float | None:
        """Mean over seeds of `kind` (accuracy or auroc) for the role of this setting."""
        values = [by_kind[kind] for by_kind in self.figures(setting, role) if by_kind[kind] is not None]
        return fmean(values) if values else None


def _what(setting: Setting, role: str) -> str:
    """The configuration of a baseline without its seed; the student and its loss are not part of it."""
    blocks, fields = setting.entry.blocks, setting.entry.fields
    return "".join(blocks.get(name, "") for name in WHAT[role]) or f"{fields.get('data')} {fields.get(role)}"


def check_metric(metric: str, settings: Sequence[Setting]) -> None:
    """Refuse (UserError) a metric that no result has."""
    name = metric.removesuffix(".interval")
    if name in PGR or any(_at(setting.metrics, SHORT.get(name, name)) is not None for setting in settings):
        return
    metrics = {*PGR, *SHORT, *(role for s in settings[:1] for role in ROLES if role in s.metrics)}
    metrics |= {f"{role}.{kind}" for role in ROLES for kind in ("auroc", "ece")} | {
        "agreement.when_weak_wrong",
        "misfit.squared",
    }
    raise UserError(f'no result has a metric "{metric}".{did_you_mean(metric, metrics - {name}, at_most=20)}')


def present(metrics: Sequence[str], settings: Sequence[Setting]) -> list[str]:
    """`metrics` without those of roles that no result has; all of them if none would be left.

    A run with labels from a file has no weak figure and no PGR without labels of the test rows (labels.test_path). In the place of the weak
    figure stands the accuracy of the labels on the student's rows.
    """
    roles = {role for role in ROLES if any(role in setting.metrics for setting in settings)}
    labelled = any(_at(setting.metrics, SHORT["labels"]) for setting in settings)
    kept = []
    for metric in metrics:
        name = metric.removesuffix(".interval")
        needed = {*ROLES} if name in PGR else {*ROLES} & {name.partition(".")[0]}
        if needed <= roles:
            kept.append(metric)
        elif metric == "weak" and labelled and "labels" not in metrics:
            kept.append("labels")
    return kept or [*metrics]


def figure(cell: Sequence[Setting], metric: str, rule: str, baselines: Baselines | None) -> Figure:
    """The figure of the settings in one cell."""
    name, interval_only = metric.removesuffix(".interval"), metric.endswith(".interval")
    if len(cell) == 1 and (name not in PGR or rule != "median_runs"):
        single = ratio(cell[0], PGR[name], baselines) if name in PGR else plain(cell[0].metrics, name)
        return Figure(single.value, single.interval, single.flag, single.counts, interval_only)
    if name in PGR:
        return over_pairs(cell, PGR[name], rule, baselines)
    values = [f.value for f in (plain(setting.metrics, name) for setting in cell) if f.value is not None]
    if not values:
        return Figure(None, interval_only=interval_only)
    return Figure(
        fmean(values) if rule == "mean" else median(values), counts={"kept": len(values)}, interval_only=interval_only
    )


def plain(metrics: Mapping[str, Any], name: str) -> Figure:
    """A stored figure; of a block the accuracy or value, with the interval."""
    block = _at(metrics, SHORT.get(name, name))
    if isinstance(block, dict):
        value = block.get("accuracy", block.get("value"))
        bounds = block.get("interval")
        return Figure(value, tuple(bounds) if bounds else None)
    number = isinstance(block, int | float) and not isinstance(block, bool)
    return Figure(float(block) if number and block is not None else None)


def _at(metrics: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(metrics, dict) or part not in metrics:
            return None
        metrics = metrics[part]
    return metrics


def ratio(setting: Setting, kind: str, baselines: Baselines | None) -> Figure:
    """PGR of one setting on `kind` (accuracy or auroc), from the means over seeds."""
    metrics = setting.metrics
    if baselines is None and kind == "accuracy":
        pgr = metrics.get("pgr")
        if pgr is None:
            return Figure(None)
        flag = next((name for name in pgr["flags"] if name in REASONS), None)
        bounds = pgr["interval"]
        return Figure(pgr["value"], tuple(bounds) if bounds else None, flag)
    levels = three(setting, kind, baselines)
    if levels is None:
        return Figure(None)
    weak, student, ceiling = levels
    gap = ceiling - weak
    if gap < 1e-9:
        return Figure(None, flag=BELOW if gap < -1e-9 else NOISE)
    value = (student - weak) / gap
    if kind != "accuracy" or baselines is None:
        return Figure(value)
    own = metrics.get("differences", {}).get("ceiling_minus_weak")
    if own and gap - (own["value"] - own["interval"][0]) <= 0:  # noise of the gap, from this setting's own interval
        return Figure(value, flag=NOISE)
    low, high = metrics["student"]["interval"]
    return Figure(value, ((low - weak) / gap, (high - weak) / gap))


def three(setting: Setting, kind: str, baselines: Baselines | None) -> tuple[float, float, float] | None:
    """Weak, student and ceiling of one setting; None if one of them is missing."""
    levels = [setting.metrics.get(role, {}).get(kind) for role in ROLES]
    if baselines is not None:
        levels[0], levels[2] = (baselines.mean(setting, role, kind) for role in ("weak", "ceiling"))
    if any(value is None for value in levels):
        return None
    weak, student, ceiling = levels
    return weak, student, ceiling


def over_pairs(cell: Sequence[Setting], kind: str, rule: str, baselines: Baselines | None) -> Figure:
    """PGR over several settings, without a model paired with itself and without pairs whose ceiling does not beat the weak supervisor.

    `median` has one ratio per setting (its student's mean over seeds), `median_runs` one per run, as in the paper's notebook.
    """
    from w2s_cli.statistics.figures import median_recovered, recovered

    pairs = []
    for setting in cell:
        levels = three(setting, kind, baselines)
        if levels is None:
            continue
        weak, student, ceiling = levels
        students = setting.metrics["student"]["per_seed"][kind] if rule == "median_runs" else [student]
        names = {"weak_model": setting.value("weak"), "strong_model": setting.value("strong")}
        pairs += [
            {**names, "weak": weak, "student": level, "ceiling": ceiling} for level in students if level is not None
        ]
    recovered_over = median_recovered(pairs)
    counts = {name: recovered_over[name] for name in ("kept", "same_model", "ceiling_not_above_weak")}
    if rule != "mean":
        return Figure(recovered_over["median"], counts=counts)
    kept = [p for p in pairs if p["weak_model"] != p["strong_model"] and p["ceiling"] > p["weak"]]
    ratios = [r for p in kept if (r := recovered(p["weak"], p["student"], p["ceiling"])) is not None]
    return Figure(fmean(ratios) if ratios else None, counts=counts)
