"""The comparison of our figures with the reported ones: the difference, and whether it is within the expected band.

* configs/experiment/NAME.csv has the reported figures of an experiment, each with its source. An item of `compare` selects figures
  (`figures`: column → value) and results (`where`: field of a result → value), and names the measure of `w2s table` (pgr, pgr_auroc,
  student.auroc, …). `join` names the columns of the data set and the models.
* A band is the difference that the reading of a plot, seeds and test rows can explain. It has a reason and is no test of significance.
* A scale that is not comparable shows only our own figures, with one row per data set, item, and models that the item distinguishes.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from w2s_cli.reproduction.experiment import Experiment
from w2s_cli.results.fields import shown
from w2s_cli.results.reader import read_entries, read_run
from w2s_cli.results.table.measures import Baselines, figure
from w2s_cli.results.table.settings import Setting, settings
from w2s_cli.results.text_table import NO_GAP, REASONS, bounds, number
from w2s_cli.store.store import Store

JOIN = {"dataset": "data", "weak_model": "weak", "strong_model": "strong"}  # column of the figures → field of a result
AT_MOST = "<="


@dataclass(frozen=True)
class Row:
    """One line of the final table."""

    data: str
    weak: str
    strong: str
    method: str
    measure: str
    reported: float | None
    ours: float | None
    interval: tuple[float, float] | None
    band: float | None
    source: str
    flag: str | None = None  # reason for a PGR that is no number
    at_most: bool = False  # the reported figure is an upper bound: its plot ends at the value

    @property
    def difference(self) -> float | None:
        """Our figure minus the reported one; 0 if ours is below a reported bound."""
        if self.ours is None or self.reported is None:
            return None
        return max(self.ours - self.reported, 0.0) if self.at_most else self.ours - self.reported

    @property
    def in_band(self) -> bool | None:
        return None if self.difference is None or self.band is None else abs(self.difference) <= self.band

    def record(self) -> dict[str, Any]:
        """The row as a dictionary for JSON."""
        return {**asdict(self), "difference": self.difference, "in_band": self.in_band}


def reported(experiment: Experiment) -> list[dict[str, str]]:
    """The rows of the experiment's CSV of reported figures; empty without such a file."""
    path = experiment.path.with_suffix(".csv")
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compare(experiment: Experiment, scale: str, folder: Path, store: Store) -> list[Row]:
    """The rows of the final table, from the results of the run in `folder`."""
    all_settings = settings(read_entries([read_run(folder, store)]), store)
    figures = reported(experiment)
    rows: list[Row] = []
    for item in experiment.compare:
        chosen = [setting for setting in all_settings if _fits(setting, item.get("where", {}))]
        if experiment.comparable(scale) and item.get("figures"):
            selected = [row for row in figures if all(row[name] in _listed(v) for name, v in item["figures"].items())]
            rows += [_against(row, item, chosen, all_settings, experiment) for row in selected]
        else:
            rows += _by_data(item, chosen, all_settings)
    return rows


def _against(
    row: dict[str, str],
    item: dict[str, Any],
    chosen: list[Setting],
    all_settings: list[Setting],
    experiment: Experiment,
) -> Row:
    """The row of one reported figure and its results."""
    names = {field: experiment.names.get(row[column], row[column]) for column, field in _join(item).items()}
    cell = [setting for setting in chosen if _fits(setting, names)]
    band = item.get("band", experiment.bands.get(item["measure"].partition(".")[0], {})).get("within")
    row_names = {field: names.get(field, row.get(column, "")) for column, field in JOIN.items()}
    value = float(row["value"].removeprefix(AT_MOST)) * item.get("scale", 1)
    result = _row(row_names, item, cell, all_settings, reported=value, band=band, source=row["source"])
    return replace(result, at_most=row["value"].startswith(AT_MOST))


def _by_data(item: dict[str, Any], chosen: list[Setting], all_settings: list[Setting]) -> list[Row]:
    """The rows of our own figures: one for each data set and for the models that the item distinguishes."""
    cells: dict[tuple[str, ...], list[Setting]] = {}
    for setting in chosen:
        position = tuple(shown(setting.value(field)) for field in _join(item).values())
        cells.setdefault(position, []).append(setting)
    rows = []
    for cell in cells.values():
        row_names = {}
        for field in JOIN.values():
            names = list(dict.fromkeys(shown(setting.value(field)) for setting in cell))
            row_names[field] = (
                names[0] if len(names) == 1 else f"{len(names)} {'sets' if field == 'data' else 'models'}"
            )
        rows.append(_row(row_names, item, cell, all_settings, reported=None, band=None, source=""))
    return rows


def _row(
    row_names: dict[str, str],
    item: dict[str, Any],
    cell: Sequence[Setting],
    all_settings: list[Setting],
    *,
    reported: float | None,
    band: float | None,
    source: str,
) -> Row:
    baselines = Baselines(all_settings) if item.get("baselines") == "mean" else None
    rule = item.get("aggregate", "median")
    if (
        "aggregate" not in item
        and len({figure([setting], item["measure"], rule, baselines).value for setting in cell}) == 1
    ):
        cell = cell[:1]  # one model's figure, shared by several pairs
    own = figure(cell, item["measure"], rule, baselines) if cell else None
    value, interval, flag = (own.value, own.interval, own.flag) if own else (None, None, "no result")
    several = f", {item['aggregate']}" if "aggregate" in item and len(cell) > 1 else ""
    return Row(
        data=row_names["data"],
        weak=row_names["weak"],
        strong=row_names["strong"],
        method=item["label"],
        measure=item["measure"] + several,
        reported=reported,
        ours=value,
        interval=interval,
        band=band,
        source=source,
        flag=flag,
    )


def _join(item: dict[str, Any]) -> dict[str, str]:
    join: dict[str, str] = item.get("join", JOIN)
    return join


def _fits(setting: Setting, wanted: dict[str, Any]) -> bool:
    return all(shown(setting.value(name)) in [shown(item) for item in _listed(value)] for name, value in wanted.items())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def table(rows: list[Row], *, comparable: bool) -> list[list[str]]:
    """The rows as text; the columns of the comparison only if `comparable`."""
    head = ["data", "weak", "strong", "method", "measure"]
    head += ["reported", "ours", "interval", "difference", "band", "in band?"] if comparable else ["ours", "interval"]
    lines = [head]
    for row in rows:
        identity = [row.data, row.weak, row.strong, row.method, row.measure]
        flag = NO_GAP if row.flag in REASONS else row.flag
        ours = [flag if flag and row.ours is None else number(row.ours), bounds(row.interval)]
        if row.flag in REASONS and row.ours is not None:
            ours[0] += f" ({NO_GAP})"
        if not comparable:
            lines.append([*identity, *ours])
            continue
        verdict = "-" if row.in_band is None else "yes" if row.in_band else "no"
        band = "-" if row.band is None else f"± {row.band:g}"
        reported_value = ("≤ " if row.at_most else "") + number(row.reported)
        lines.append([*identity, reported_value, *ours, number(row.difference), band, verdict])
    return lines
