"""The shapes of plan.json and results.json (`store/shapes.py`): what the readers of a run rely on.

The metrics are those of `statistics/report.py`. Figures that do not exist are null: an area without both classes, a ratio without rows.
"""

from typing import Annotated, Any, NotRequired, TypedDict

from w2s_cli.statistics import ROLES

Share = Annotated[float, lambda value: -1e-6 <= value <= 1 + 1e-6]
Interval = tuple[float, float]
Count = Annotated[int, lambda value: value > 0]


class PerSeed(TypedDict):
    """The figures of a role, one a seed."""

    accuracy: list[Share]
    auroc: list[Share | None]
    ece: list[Share | None]


class Role(TypedDict):
    """The figures of weak supervisor, student or ceiling."""

    accuracy: Share
    auroc: Share | None
    ece: Share | None
    interval: Interval
    per_seed: PerSeed


class Estimate(TypedDict):
    """A figure with its interval."""

    value: float | None
    interval: Interval | None


class Recovered(Estimate):
    """PGR."""

    per_seed: list[float | None]
    mean_of_ratios: float | None
    flags: list[str]
    note: str | None


class Agreement(TypedDict):
    """Agreement with the supervisor."""

    overall: Estimate
    when_weak_right: Estimate
    when_weak_wrong: Estimate


class Misfit(TypedDict):
    """The misfit of the student."""

    squared: float | None
    cross_entropy: float | None
    gain: float | None


class Covered(TypedDict):
    """The share of rows that the supervisor labels."""

    value: Share
    interval: Interval | None


class Pseudolabels(TypedDict):
    """Correction and coverage expansion."""

    coverage: Covered
    student_on_covered_right: Estimate
    student_on_covered_wrong: Estimate
    student_on_uncovered: Estimate


class Metrics(TypedDict):
    """The metrics of an evaluate or summary stage."""

    rows: Count
    seeds: Count
    confidence: Annotated[float, lambda value: 0 < value < 1]
    majority: Share
    differences: NotRequired[dict[str, Estimate]]
    weak: NotRequired[Role]
    student: NotRequired[Role]
    ceiling: NotRequired[Role]
    pgr: NotRequired[Recovered]
    agreement: NotRequired[Agreement]
    misfit: NotRequired[Misfit]
    pseudolabels: NotRequired[Pseudolabels]


class Fields(TypedDict):
    """The fields of a setting."""

    weak: str
    strong: str
    data: str
    method: str
    loss: str
    train: NotRequired[str]
    labels: NotRequired[str]
    evaluates: NotRequired[str]
    combine: NotRequired[str | None]
    select: NotRequired[str | None]
    ladder: NotRequired[list[str] | None]
    ensemble: NotRequired[int | list[str] | None]
    rounds: NotRequired[int | None]
    control: NotRequired[str | None]
    stopping: NotRequired[str | None]
    head: NotRequired[str | None]


class Written(Fields):
    """An item of results.json."""

    stage: str
    key: str
    seeds: list[int]
    metrics: Annotated[Metrics, lambda metrics: _has_seeds(metrics)]
    job: NotRequired[Annotated[int, lambda number: number >= 0]]
    words: NotRequired[list[str]]
    family: NotRequired[str]


class Planned(TypedDict):
    """An item of plan.json."""

    key: str
    name: NotRequired[str]
    kind: NotRequired[str]
    gives: NotRequired[str | None]
    inputs: NotRequired[dict[str, str | list[str]]]
    state: NotRequired[str]


def _has_seeds(metrics: dict[str, Any]) -> bool:
    """Whether every list over seeds has one figure a seed."""
    roles = [metrics[role]["per_seed"].values() for role in ROLES if role in metrics]
    lists = [values for role in roles for values in role] + ([metrics["pgr"]["per_seed"]] if "pgr" in metrics else [])
    return all(len(values) == metrics["seeds"] for values in lists)
