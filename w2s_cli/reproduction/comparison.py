"""Ours beside the reported figure: difference, and whether it lies in the expected band.

* The figures that an experiment compares with lie in configs/experiment/NAME.csv, each with its source. An item of `compare` says which of
  them (`figures`: column → value) are held against which results (`where`: field of a result → value), by which measure of `w2s table`
  (pgr, pgr_auroc, student.auroc, …); `join` says which columns name the data set and the models.
* A band is the difference that reading a plot, seeds and test rows explain; it comes with its reason and is not a test of significance.
* At a scale that is not comparable only our own figures are shown, one row per data set, item, and models that it tells apart.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from w2s_cli.reproduction.experiment import Experiment
from w2s_cli.results.fields import shown
from w2s_cli.results.reader import read_entries, read_run
from w2s_cli.results.table.measures import FLAGS, Baselines, figure
from w2s_cli.results.table.settings import Setting, settings
from w2s_cli.results.text_table import bounds, number
from w2s_cli.store.store import Store

JOIN = {"dataset": "data", "weak_model": "weak", "strong_model": "strong"}  # column of the figures → field of a result
AT_MOST = "<="


@dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

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
    flag: str | None = None  # why a PGR is not a number
    at_most: bool = False  # the reported figure is a bound: a plot that ends there

    @property
    def difference(self) -> float | None:
        """Ours minus theirs; nothing where ours is below their bound."""
        if self.ours is None or self.reported is None:
            return None
        return max(self.ours - self.reported, 0.0) if self.at_most else self.ours - self.reported

    @property
    def in_band(self) -> bool | None:
        return None if self.difference is None or self.band is None else abs(self.difference) <= self.band

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "difference": self.difference, "in_band": self.in_band}


def reported(experiment: Experiment) -> list[dict[str, str]]:
    """The rows of the experiment's figures; none if there is no file of them."""
    path = experiment.path.with_suffix(".csv")
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compare(experiment: Experiment, scale: str, folder: Path, store: Store) -> list[Row]:
    """The rows of the table at the end of a run that left its results in `folder`."""
    every = settings(read_entries([read_run(folder, store)]), store)
    figures = reported(experiment)
    rows: list[Row] = []
    for item in experiment.compare:
        chosen = [setting for setting in every if _fits(setting, item.get("where", {}))]
        if experiment.comparable(scale) and item.get("figures"):
            wanted = [row for row in figures if all(row[name] in _listed(v) for name, v in item["figures"].items())]
            rows += [_against(row, item, chosen, every, experiment) for row in wanted]
        else:
            rows += _by_data(item, chosen, every)
    return rows


def _against(
    row: dict[str, str], item: dict[str, Any], chosen: list[Setting], every: list[Setting], experiment: Experiment
) -> Row:
    """One reported figure and the results that it is about."""
    names = {field: experiment.names.get(row[column], row[column]) for column, field in _join(item).items()}
    cell = [setting for setting in chosen if _fits(setting, names)]
    band = item.get("band", experiment.bands.get(item["measure"].partition(".")[0], {})).get("within")
    named = {field: names.get(field, row.get(column, "")) for column, field in JOIN.items()}
    value = float(row["value"].removeprefix(AT_MOST)) * item.get("scale", 1)
    made = _row(named, item, cell, every, reported=value, band=band, source=row["source"])
    return replace(made, at_most=row["value"].startswith(AT_MOST))


def _by_data(item: dict[str, Any], chosen: list[Setting], every: list[Setting]) -> list[Row]:
    """Our own figures: one for each data set and for the models that the item tells apart."""
    cells: dict[tuple[str, ...], list[Setting]] = {}
    for setting in chosen:
        at = tuple(shown(setting.value(field)) for field in _join(item).values())
        cells.setdefault(at, []).append(setting)
    rows = []
    for cell in cells.values():
        named = {}
        for field in JOIN.values():
            names = list(dict.fromkeys(shown(setting.value(field)) for setting in cell))
            named[field] = names[0] if len(names) == 1 else f"{len(names)} {'sets' if field == 'data' else 'models'}"
        rows.append(_row(named, item, cell, every, reported=None, band=None, source=""))
    return rows


def _row(
    named: dict[str, str],
    item: dict[str, Any],
    cell: Sequence[Setting],
    every: list[Setting],
    *,
    reported: float | None,
    band: float | None,
    source: str,
) -> Row:
    baselines = Baselines(every) if item.get("baselines") == "mean" else None
    rule = item.get("aggregate", "median")
    if "aggregate" not in item and len({figure([one], item["measure"], rule, baselines).value for one in cell}) == 1:
        cell = cell[:1]  # one model's own figure, which several pairs share
    made = figure(cell, item["measure"], rule, baselines) if cell else None
    value, interval, flag = (made.value, made.interval, made.flag) if made else (None, None, "no result")
    several = f", {item['aggregate']}" if "aggregate" in item and len(cell) > 1 else ""
    return Row(
        data=named["data"],
        weak=named["weak"],
        strong=named["strong"],
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
    return all(shown(setting.value(name)) in [shown(one) for one in _listed(value)] for name, value in wanted.items())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def table(rows: list[Row], *, comparable: bool) -> list[list[str]]:
    """The rows as text; without the columns of a comparison where there is none."""
    head = ["data", "weak", "strong", "method", "measure"]
    head += ["reported", "ours", "interval", "difference", "band", "in band?"] if comparable else ["ours", "interval"]
    lines = [head]
    for row in rows:
        what = [row.data, row.weak, row.strong, row.method, row.measure]
        ours = [row.flag if row.flag and row.ours is None else number(row.ours), bounds(row.interval)]
        if row.flag in FLAGS and row.ours is not None:
            ours[0] += f" ({row.flag})"
        if not comparable:
            lines.append([*what, *ours])
            continue
        inside = "-" if row.in_band is None else "yes" if row.in_band else "no"
        band = "-" if row.band is None else f"± {row.band:g}"
        theirs = ("≤ " if row.at_most else "") + number(row.reported)
        lines.append([*what, theirs, *ours, number(row.difference), band, inside])
    return lines
