"""The output at the end of a command: the results in one table, the time per stage, and the folder of the run.

One setting has the whole table of its roles. Several settings share one table with a row each: what a sweep is run for is their
comparison, and the tables of all settings would push it off the screen. What all settings share stands above the table.
"""

import os
from pathlib import Path
from typing import Any

from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.states import Planned
from w2s_cli.results.cautions import of_result, once
from w2s_cli.results.environment import difference, here, of_entries
from w2s_cli.results.fields import setting, shown, value_of, words_of
from w2s_cli.results.graded_table import level_rows
from w2s_cli.results.pairs import recovered_over
from w2s_cli.results.reader import Entry
from w2s_cli.results.stages import read_stage
from w2s_cli.results.table.distinguishing import varying
from w2s_cli.results.text_table import (
    number,
    pgr_bounds,
    pgr_value,
    print_items,
    print_table,
    results_notes,
    results_table,
)
from w2s_cli.statistics import ROLES
from w2s_cli.store.places import command_line
from w2s_cli.store.store import Store

STAGES_TIMED = 8
NAMES = ("weak", "strong", "data", "setting")  # first columns of the table of several settings


def show_results(
    results: list[Entry],
    wall: dict[str, list[float]],
    graph: Graph,
    plans: dict[str, Planned],
    store: Store,
    folder: Path,
) -> None:
    """Print the results of a finished command; several seeds of one setting are shown by their summary."""
    summaries = [entry for entry in results if entry.summarises]
    entries = summaries or results
    if len(entries) > 1:
        shared, rows = overview(entries)
        notes = once((title(e), below(e, graph.stages[e.key])) for e in entries)
        print_table(
            rows, shared, [*notes, f"{command_line(store.root, 'report')} has the whole table of each setting."]
        )
        print()
    else:
        for entry in entries:
            notes = [*results_notes(entry.metrics), *of_result(entry, graph.stages[entry.key])]
            if entry.fields["ensemble"] is not None:
                notes.append("The weak row is the first supervisor alone, as with method=naive; PGR is relative to it.")
            print_table(results_table(entry.metrics), title(entry), notes)
            if by_level := level_rows(entry.metrics):
                print()
                print_table(by_level)
            print()
    for line in [*medians(entries), *cautions(graph, store), *difference(of_entries(results), here())]:
        print(line)
    if not results:
        rows = [["stage", "figures"]]
        for key, stage in graph.stages.items():
            metrics = read_stage(store, key).metrics if key in plans else {}
            if metrics:
                rows.append([stage.name, brief(metrics)])
        if len(rows) > 1:
            print_table(rows)
            print()
    print_items("time per stage", time_spent(wall))
    print(f"the run, with results.json and links to its stages:\n{os.path.relpath(folder)}")


def overview(entries: list[Entry]) -> tuple[str, list[list[str]]]:
    """The table of a sweep, with a row for each setting, and its title: what all settings share.

    Its first columns are the swept words of the command line; the names of models, data and method stand there too if the words
    do not tell the settings apart.
    """
    names = {
        name: [setting(entry.fields) if name == "setting" else str(entry.fields[name]) for entry in entries]
        for name in NAMES
    }
    shared = [f"{name} {values[0]}" for name, values in names.items() if len(set(values)) == 1]
    columns = _varied({name: [words_of(e).get(name, "-") for e in entries] for e in entries for name in words_of(e)})
    columns.pop("seed", None)
    if len(set(zip(*columns.values(), strict=True))) < len(entries):
        columns = {**_varied(names), **columns}
    rows = [[*columns, "seeds", *ROLES, "PGR", "interval"]]
    for place, entry in enumerate(entries):
        metrics = entry.metrics
        accuracies = [number(metrics.get(role, {}).get("accuracy")) for role in ROLES]
        pgr = [pgr_value(metrics["pgr"]), pgr_bounds(metrics["pgr"])] if "pgr" in metrics else ["-", "-"]
        own = [values[place] for values in columns.values()]
        rows.append([*own, ", ".join(map(str, entry.seeds)), *accuracies, *pgr])
    return ", ".join(shared), rows


def _varied(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def below(entry: Entry, planned: Stage | None = None) -> list[str]:
    """The lines below the table of a sweep that one of its settings adds: its seeds and rows, and its cautions."""
    first, *more = results_notes(entry.metrics)
    return [first, *(note for note in more if note.startswith("Caution")), *of_result(entry, planned)]


def medians(entries: list[Entry]) -> list[str]:
    """The median PGR over pairs of models, for every data set and setting with several pairs; without a median of one or none."""
    complete = [entry for entry in entries if all(role in entry.metrics for role in ROLES)]
    alike = len({str(entry.fields) for entry in complete}) < len(complete)
    varied = varying(complete) if alike else []  # which parses the configurations
    settings: dict[tuple[str, ...], list[Entry]] = {}
    for entry in complete:
        further = [f"{name} {shown(value_of(entry, name))}" for name in varied]
        settings.setdefault((entry.fields["data"], setting(entry.fields), *further), []).append(entry)
    lines = []
    for names, group in settings.items():
        if len({(entry.fields["weak"], entry.fields["strong"]) for entry in group}) < 2:
            continue
        median = recovered_over(group)
        figure, kept = number(median["median"], 2), median["kept"]
        what, figure = {
            0: ("PGR", "no pair has a gap"),
            1: ("PGR", f"{figure} of the one pair with a gap"),
        }.get(kept, ("median PGR", f"{figure} over {kept} pairs"))
        dropped = (
            f"{median['same_model']} of a model with itself, {median['ceiling_not_above_weak']} without a gap dropped"
        )
        lines.append(f"{what} on {', '.join(names)}: {figure} ({dropped})")
    return lines


def cautions(graph: Graph, store: Store) -> list[str]:
    """Facts beside the tables: cut texts, rules with ground truth, and the reason for a missing PGR. The results' own are below each."""
    lines: list[str] = []
    told: set[str] = set()  # pools; one that each seed draws anew is told of once
    for key, stage in graph.stages.items():
        of_kind = stage.of.optional("cautions")
        if of_kind is None or stage.of.traits.gives == "comparison":
            continue
        pool = str(stage.about) if stage.of.traits.gives == "rows" else ""
        own = [] if pool in told else of_kind(read_stage(store, key).metrics, stage.identity["params"], stage.about)
        lines += own
        told |= {pool} if own and pool else set()
    for job in graph.jobs:
        if job.config["stopping"]["by"] == "truth":
            lines.append(
                "Diagnostic, not a method: students were stopped early by ground truth (stopping=ground_truth)."
            )
        if job.config["labels"]["source"] == "file" and not job.config["labels"]["test_path"]:
            lines.append(
                "No PGR: the label file has no labels of the test rows; labels.test_path=FILE adds the labeller's accuracy."
            )
    return list(dict.fromkeys(lines))


def time_spent(wall: dict[str, list[float]]) -> list[str]:
    """'student 5 × 18.2 s', 'ceiling 5 × 17.9 s', …, ordered by total time."""
    longest = sorted(wall.items(), key=lambda item: -sum(item[1]))
    parts = []
    for name, seconds in longest[:STAGES_TIMED]:
        times = f"{len(seconds)} × " if len(seconds) > 1 else ""
        parts.append(f"{name} {times}{sum(seconds) / len(seconds):.1f} s")
    return parts + ([f"{len(longest) - STAGES_TIMED} more"] if len(longest) > STAGES_TIMED else [])


def title(entry: Entry) -> str:
    """'wordnet-xs → wordnet-l on wordnet_living (naive, xent, seeds 0-4)'"""
    seeds = entry.seeds
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    fields = entry.fields
    return f"{fields['weak']} → {fields['strong']} on {fields['data']} ({setting(fields)}, {which})"


def brief(metrics: dict[str, Any]) -> str:
    """The plain figures of a stage in one line."""
    figures = [
        f"{name} {value:.4g}"
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return "  ".join(figures)
