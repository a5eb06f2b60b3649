"""Programs measured in turn, A B A B, so that a slow drift of the machine meets all of them; and what their figures say together."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from scripts.benchmarks.processes import Took

Measure = Callable[[int], Took]  # repeat number → one run


def in_turn(programs: Mapping[str, Measure], repeats: int, say: Callable[[str], None] = print) -> dict[str, list[Took]]:
    """Every program once, then all again; repeat k of each is a pair with repeat k of the others."""
    measured: dict[str, list[Took]] = {name: [] for name in programs}
    for repeat in range(repeats):
        for name, measure in programs.items():
            took = measure(repeat)
            say(
                f"  {name} [{repeat + 1}/{repeats}]: {took.cpu_s:.1f} CPU s, {took.wall_s:.1f} s, {took.peak_mib:.0f} MiB"
            )
            measured[name].append(took)
    return measured


def ratios(other: Sequence[Took], ours: Sequence[Took], figure: str = "cpu_s") -> list[float]:
    """other / ours of each pair: how many times less ours takes."""
    return [a.figures()[figure] / b.figures()[figure] for a, b in zip(other, ours, strict=True)]


def medians(runs: Sequence[Took]) -> dict[str, float]:
    """The median of every number that all runs have."""
    shared = set.intersection(*(set(took.figures()) for took in runs))
    return {name: median(took.figures()[name] for took in runs) for name in sorted(shared)}


def side_by_side(**programs: Sequence[Took]) -> dict[str, Any]:
    """The details of a comparison: medians by program."""
    return {name: medians(runs) for name, runs in programs.items()}


def right_apart(one: Took, other: Took) -> int:
    """How many test rows only one of two programs has right."""
    return sum(a != b for a, b in zip(one.answer["right"], other.answer["right"], strict=True))
