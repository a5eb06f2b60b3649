"""What further seeds or test rows would do for a figure: its noise by part, the interval and the cost of each choice.

* The noise is estimated from the answers to single test rows that the evaluations keep, seed by seed (`statistics.components`). Two
  settings are paired by seed and row.
* A seed costs what its own stages took: those that no other seed shares. Further test rows cost the passes of all models over all rows
  again, because the pool of another size is another stage; and a training where the weights were removed.
* Costs are wall seconds of the records, on the devices that they name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.answered import answered
from w2s_cli.results.reader import Entry
from w2s_cli.results.stages import Stage, read_upstream
from w2s_cli.statistics import ROLES
from w2s_cli.statistics.components import Components, components, ratio_cells
from w2s_cli.statistics.contrast import Answered
from w2s_cli.statistics.figures import Floats
from w2s_cli.store.store import Store

PGR = "pgr"
SEEDS = (1, 2, 3, 5, 10, 20)  # further seeds that are looked at
ROWS = (0.5, 1.0, 3.0)  # further test rows, as shares of the present ones; and all that there are
DIFFERENCES = ("student-weak", "ceiling-weak", "ceiling-student")
FIGURES = (*ROLES, *DIFFERENCES, PGR)


@dataclass(frozen=True)
class Cost:
    """The cost of one choice."""

    seconds: float
    devices: tuple[str, ...]  # of its stages with a model
    unknown: int = 0  # stages without a record of their time


@dataclass(frozen=True)
class Choice:
    """Further seeds or test rows."""

    seeds: int
    rows: int
    half: float  # of the expected interval
    cost: Cost


@dataclass
class Power:
    """The noise of a figure over `seeds` × `rows`, and what narrows its interval."""

    value: float
    seeds: list[int]
    rows: int
    confidence: float
    parts: Components
    half: float  # of the expected interval of as many seeds and rows
    endless: float  # … of endless seeds on these rows
    available: int | None  # test rows of the data set; None if unknown
    choices: list[Choice] = field(default_factory=list)  # the most narrowing per hour first

    def gain(self, choice: Choice) -> float:
        """How much narrower half the interval is, for each hour."""
        return (self.half - choice.half) / max(choice.cost.seconds / 3600, 1e-9)


def cells_of(entries: Sequence[Entry], figure: str, truth: Mapping[str, Any]) -> Floats:
    """The figure of one setting, cell by cell: [seeds, rows]; the mean of the cells is the figure.

    Args:
        entries: the results of single seeds.
        figure: a role, a difference of two, or pgr.
        truth: the test rows with their answers, in the order of the cells.

    Raises:
        UserError: answers that are not stored, other test rows, a role that the method lacks, or a gap of 0.
    """
    import numpy as np

    right: dict[str, list[Floats]] = {}
    for entry in entries:
        one = _answers(entry)
        if dict(one.truth) != dict(truth):
            raise UserError("the results have different test rows; only results on the same rows can be paired.")
        place = {row: number for number, row in enumerate(one.truth)}
        order = [place[row] for row in truth]
        for role, cells in one.right.items():
            right.setdefault(role, []).append(cells[0][order])
    needed = ROLES if figure == PGR else figure.split("-")
    if missing := [role for role in needed if len(right.get(role, ())) < len(entries)]:
        raise UserError(f"the results have no {missing[0]}, which {figure} needs: choose another --figure.")
    table = {role: np.stack(right[role]) for role in needed}  # each [seeds, rows]
    if figure == PGR:
        gap = table["ceiling"] - table["weak"]
        if abs(gap.mean()) < 1e-9:
            raise UserError(
                "the ceiling does not beat the weak supervisor, so there is no PGR: choose another --figure, such as student-weak."
            )
        return ratio_cells(table["student"] - table["weak"], gap)
    more, *less = needed
    return table[more] - table[less[0]] if less else table[more]


def power(
    sides: Sequence[Sequence[Entry]],
    figure: str,
    store: Store,
    confidence: float,
    seeds: Sequence[int] = (),
    rows: Sequence[int] = (),
) -> Power:
    """The noise of a figure of one setting, or of the difference of two (the second minus the first).

    Args:
        sides: the results of single seeds of each setting, with the same seeds in the same order.
        seeds, rows: further seeds and test rows to look at; none: some.

    Raises:
        UserError: fewer than two seeds, or what `cells_of` refuses.
    """
    numbers = [entry.seeds[0] for entry in sides[0]]
    if len(numbers) < 2:
        raise UserError(
            f"the noise of seeds needs two of them, and there is {len(numbers)}: run the same command with seeds=3, then this one again."
        )
    truth = _answers(sides[0][0]).truth
    tables = [cells_of(side, figure, truth) for side in sides]
    cells = tables[0] if len(tables) == 1 else tables[1] - tables[0]
    parts, count = components(cells), cells.shape[1]
    of_seeds = [read_upstream(store, [side[number].key for side in sides]) for number in range(len(numbers))]
    available = _available(of_seeds[0], sides[0][0])
    result = Power(
        float(cells.mean()),
        numbers,
        count,
        confidence,
        parts,
        parts.half_width(len(numbers), count, confidence),
        parts.half_width(float("inf"), count, confidence),
        available,
    )
    if available is not None and any(count + more > available for more in rows):
        raise UserError(f"--rows: the data set has up to {available:,} test rows, and {count:,} are used already.")
    for more in seeds or SEEDS:
        half = parts.half_width(len(numbers) + more, count, confidence)
        result.choices.append(Choice(more, 0, half, _cost(_own(of_seeds), more / len(numbers))))
    tests = {
        str(entry.run.by_key[entry.key].inputs.get("rows"))
        for side in sides
        for entry in side
        if entry.key in entry.run.by_key
    }
    for more in rows or _more_rows(count, available):
        half = parts.half_width(len(numbers), count + more, confidence)
        result.choices.append(Choice(0, more, half, _cost(_passes(of_seeds, tests), (count + more) / count)))
    result.choices.sort(key=result.gain, reverse=True)
    return result


def _answers(entry: Entry) -> Answered:
    """The answers of one seed to the test rows."""
    one = answered(entry)
    if one is None:
        raise UserError(
            f"the answers of seed {entry.seeds[0]} to single test rows are no longer stored: run its command again."
        )
    return one


def _own(of_seeds: Sequence[Mapping[str, Stage]]) -> list[Stage]:
    """The stages of one seed alone, of all seeds."""
    counts: dict[str, int] = {}
    for stages in of_seeds:
        for key in stages:
            counts[key] = counts.get(key, 0) + 1
    return [stage for stages in of_seeds for key, stage in stages.items() if counts[key] == 1]


def _passes(of_seeds: Sequence[Mapping[str, Stage]], tests: set[str]) -> list[Stage]:
    """The stages of all seeds that read the test rows, without the comparisons, and the models whose weights they lack."""
    stages = {key: stage for one in of_seeds for key, stage in one.items()}
    readers = [stage for stage in stages.values() if stage.inputs.get("rows") in tests and stage.gives != "comparison"]
    models = {str(stage.inputs["model"]) for stage in readers if isinstance(stage.inputs.get("model"), str)}
    return readers + [stages[key] for key in sorted(models) if key in stages and stages[key].state.pruned]


def _cost(stages: Iterable[Stage], times: float) -> Cost:
    """The cost of as many stages, `times` over."""
    seconds, unknown, devices = 0.0, 0, set()
    for stage in stages:
        wall = stage.record.get("wall_s")
        if wall is None:
            unknown += 1
            continue
        seconds += wall
        if device := (stage.record.get("provenance") or {}).get("device"):
            devices.add(str(device))
    return Cost(seconds * times, tuple(sorted(devices)), unknown)


def _available(stages: Mapping[str, Stage], entry: Entry) -> int | None:
    """The rows that the pool of the test rows has without its limit."""
    planned = entry.run.by_key.get(entry.key)
    rows = stages.get(str(planned.inputs.get("rows"))) if planned else None
    size: Any = rows.metrics.get("pool_rows") if rows else None
    return size if isinstance(size, int) else None


def _more_rows(rows: int, available: int | None) -> list[int]:
    """Numbers of further test rows, up to all; [] if the pool has no more."""
    most = (available or rows) - rows
    return sorted({min(round(share * rows), most) for share in (*ROWS, float(most) / rows)} - {0}) if most > 0 else []
