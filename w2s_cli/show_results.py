"""The end of a command: one table per result, where the time went, and where the artifacts lie."""

import os
from pathlib import Path
from typing import Any

from w2s_cli.graph import Graph
from w2s_cli.plan import Planned
from w2s_cli.tables import print_table, results_notes, results_table

STAGES_TIMED = 8


def show_results(
    command: str,
    results: list[dict[str, Any]],
    wall: dict[str, list[float]],
    graph: Graph,
    plans: dict[str, Planned],
    folder: Path,
) -> None:
    """Print what a finished command came to; several runs of one family are shown by their summary."""
    summaries = [entry for entry in results if entry["stage"] == "summary"]
    for entry in summaries or results:
        print_table(results_table(entry["metrics"]), title(entry), results_notes(entry["metrics"]))
        print()
    if not results:
        rows = [["stage", "figures"]]
        for key, stage in graph.stages.items():
            if key in plans and plans[key].state.metrics:
                rows.append([stage.name, brief(plans[key].state.metrics)])
        if len(rows) > 1:
            print_table(rows)
            print()
    print(f"time per stage: {time_spent(wall)}")
    print(f"artifacts: {os.path.relpath(folder)}/stages   results: {os.path.relpath(folder)}/results.json")


def time_spent(wall: dict[str, list[float]]) -> str:
    """'student 5 × 18.2 s, ceiling 5 × 17.9 s, …', the longest in all first."""
    longest = sorted(wall.items(), key=lambda item: -sum(item[1]))
    said = []
    for name, seconds in longest[:STAGES_TIMED]:
        times = f"{len(seconds)} × " if len(seconds) > 1 else ""
        said.append(f"{name} {times}{sum(seconds) / len(seconds):.1f} s")
    more = f", {len(longest) - STAGES_TIMED} more" if len(longest) > STAGES_TIMED else ""
    return ", ".join(said) + more


def title(entry: dict[str, Any]) -> str:
    """'wordnet-xs → wordnet-l on wordnet_living (naive, xent, seeds 0-4)'"""
    seeds = entry["seeds"]
    said = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    mode = "" if entry["train"] == "full" else f"{entry['train']}, "
    return f"{entry['weak']} → {entry['strong']} on {entry['data']} ({entry['method']}, {entry['loss']}, {mode}{said})"


def brief(metrics: dict[str, Any]) -> str:
    """The plain figures of a stage in one line."""
    found = [
        f"{name} {value:.4g}"
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return "  ".join(found)
