"""The shapes of plan.json and results.json (`store/shapes.py`): what the readers of a run rely on.

The metrics are those of `statistics/report.py`. Figures that do not exist are null: an area without both classes, a ratio without rows.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from w2s_cli.statistics import ROLES

Share = Annotated[float, lambda value: -1e-6 <= value <= 1 + 1e-6]
Interval = tuple[float, float]
Count = Annotated[int, lambda value: value > 0]
Steps = Annotated[int, lambda value: value >= 0]


class PerSeed(TypedDict):
    """The figures of a role, one a seed."""

    accuracy: list[Share]
    auroc: list[Share | None]
    ece: list[Share | None]
    untrained_threshold: NotRequired[list[bool]]
    constant_answer: NotRequired[list[bool]]
    updates: NotRequired[list[Steps | None]]
    diverged: NotRequired[list[bool]]


class Labels(TypedDict):
    """The accuracy of the labels that the student learned from."""

    accuracy: Share
    per_seed: list[Share]


class Texts(TypedDict):
    """The form of a role's answers."""

    samples: Count
    well_formed: Share
    cut: Share
    tokens: Annotated[float, lambda value: value >= 0]
    pass_at: NotRequired[dict[str, Share]]
    majority_at: NotRequired[dict[str, Share]]
    majority: NotRequired[Share]


class Role(TypedDict):
    """The figures of weak supervisor, student or ceiling."""

    accuracy: Share
    auroc: Share | None
    ece: Share | None
    interval: Interval
    per_seed: Annotated[PerSeed, lambda per_seed: _has_areas(per_seed)]
    labels: NotRequired[Labels]
    texts: NotRequired[Texts]
    epochs: NotRequired[Annotated[float, lambda epochs: epochs > 0] | None]
    preference: NotRequired[bool]


class Estimate(TypedDict):
    """A figure with its interval."""

    value: float | None
    interval: Interval | None


class Difference(TypedDict):
    """A difference of two roles' accuracies."""

    value: float
    interval: Interval


class Recovered(TypedDict):
    """PGR; without a gap between weak supervisor and ceiling its value is None, and so is its interval."""

    value: float | None
    interval: Interval | None
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


class _Metrics(TypedDict):
    """The metrics of an evaluate or summary stage, each by itself."""

    rows: Count
    seeds: Count
    confidence: Annotated[float, lambda value: 0 < value < 1]
    majority: NotRequired[Share]
    noise: NotRequired[str]
    differences: NotRequired[dict[str, Difference]]
    weak: NotRequired[Role]
    student: NotRequired[Role]
    ceiling: NotRequired[Role]
    pgr: NotRequired[Annotated[Recovered, lambda pgr: pgr["interval"] is None or pgr["value"] is not None]]
    agreement: NotRequired[Agreement]
    misfit: NotRequired[Misfit]
    pseudolabels: NotRequired[Pseudolabels]
    floor: NotRequired[str]
    others: NotRequired[dict[str, Role]]
    levels: NotRequired[dict[str, dict[str, float]]]


Metrics = Annotated[_Metrics, lambda metrics: _has_seeds(metrics) and _has_roles(metrics)]


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


class _Written(Fields):
    """An item of results.json, each field by itself."""

    stage: str
    key: str
    seeds: list[int]
    metrics: Metrics
    job: NotRequired[Annotated[int, lambda number: number >= 0]]
    words: NotRequired[list[str]]
    family: NotRequired[str]
    environment: NotRequired[dict[str, list[str]]]


Written = Annotated[_Written, lambda item: len(item["seeds"]) == item["metrics"]["seeds"]]


class Planned(TypedDict):
    """An item of plan.json."""

    key: str
    name: NotRequired[str]
    kind: NotRequired[str]
    gives: NotRequired[str | None]
    inputs: NotRequired[dict[str, str | list[str]]]
    state: NotRequired[str]


def _has_areas(per_seed: Mapping[str, Any]) -> bool:
    """Whether every seed with an untrained threshold has the AUROC that tells of it."""
    flags = per_seed.get("untrained_threshold", [])
    return all(area is not None for flag, area in zip(flags, per_seed["auroc"], strict=False) if flag)


def _has_seeds(metrics: Mapping[str, Any]) -> bool:
    """Whether every list over seeds has one figure a seed, and several seeds are said to have their noise."""
    of_seeds = all(len(values) == metrics["seeds"] for values in _over_seeds(metrics))
    return of_seeds and (metrics["seeds"] == 1 or "noise" in metrics)


def _over_seeds(metrics: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The lists with one figure a seed."""
    for block in (metrics[role] for role in ROLES if role in metrics):
        yield from (block["per_seed"][figure] for figure in PerSeed.__annotations__ if figure in block["per_seed"])
        if "labels" in block:
            yield block["labels"]["per_seed"]
    if "pgr" in metrics:
        yield metrics["pgr"]["per_seed"]


def _has_roles(metrics: Mapping[str, Any]) -> bool:
    """Whether a PGR has the figures of all its roles."""
    return "pgr" not in metrics or all(role in metrics for role in ROLES)
