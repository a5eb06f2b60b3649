"""`w2s reproduce NAME [--scale paper|small|demo]`: a published experiment from its YAML to a table with the reported figures.

* It composes, plans and runs the same stages as `w2s train -m`, so it can be interrupted and continued, and shares stages with other runs.
* --plan shows the plan and its cost, runs nothing and does not ask the hub. Without a name the command lists the experiments.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from w2s_cli.commands import train
from w2s_cli.commands.copies import named
from w2s_cli.commands.elsewhere import planned_with, with_pulled
from w2s_cli.commands.options import parser
from w2s_cli.commands.output import guarded
from w2s_cli.commands.show_plan import show_cost, show_plan
from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.pipeline.states import Planned, survey
from w2s_cli.reproduction import comparison, records
from w2s_cli.reproduction.experiment import SCALES, Experiment, check_scale, configurations, files, load, runs_at
from w2s_cli.results.text_table import print_table
from w2s_cli.results.writer import held_run
from w2s_cli.run import trackers
from w2s_cli.store.store import Store

REPORTED = 20  # reported figures that a plan shows
EXAMPLES = """\
examples:
  w2s reproduce                                     the list of experiments
  w2s reproduce gpt2_replication --plan             the plan and its cost; runs and downloads nothing
  w2s reproduce eleuther_pgr --plan --rate 300      hours on a device that reaches 300 TFLOPS in training
  w2s reproduce eleuther_pgr --scale demo           the same graph with bundled models and data, on two cores, offline
  w2s reproduce reference_plots data=sciq seed=0,1  a part of it: overrides of w2s train for all runs
  w2s reproduce --summary                           stages and time of all reproductions in the outputs folder"""


def run(argv: list[str]) -> int:
    """List, plan or run an experiment."""
    arg_parser = parser("reproduce", "Reproduce a published experiment.")
    arg_parser.epilog = EXAMPLES
    arg_parser.formatter_class = argparse.RawDescriptionHelpFormatter
    arg_parser.add_argument(
        "words", nargs="*", metavar="NAME | FIELD=VALUE", help="an experiment, overrides of all its runs"
    )
    arg_parser.add_argument("--scale", default="paper", metavar="|".join(SCALES), help="paper (default): as published")
    arg_parser.add_argument(
        "--plan", action="store_true", help="show the plan and its cost; run nothing, do not ask the hub"
    )
    arg_parser.add_argument(
        "--rate", metavar="TFLOPS", help="the rate of your device in training, for the estimate of hours"
    )
    arg_parser.add_argument(
        "--summary", action="store_true", help="stages and time of all reproductions in the outputs folder"
    )
    arg_parser.add_argument("--config-dir", metavar="DIR", help="a folder with experiment/NAME.yaml of your own")
    options = arg_parser.parse_intermixed_args([f"--{word}" if word.startswith("outputs=") else word for word in argv])
    rate = _rate(options.rate)
    names = [word for word in options.words if "=" not in word]
    if options.summary:
        print_table(*_with_notes(*records.summary(Store(locate(options.outputs)))))
        return train.DONE
    if not names:
        return _list(options.config_dir)
    if len(names) > 1:
        raise UserError(f"w2s reproduce takes one experiment at a time: {' or '.join(names)}?")
    experiment = load(names[0], options.config_dir)
    check_scale(experiment, options.scale)
    overrides: dict[str, Any] = dict(word.split("=", 1) for word in options.words if "=" in word)
    with guarded(needed=options.plan):
        return _reproduce(experiment, {**overrides, "outputs": options.outputs}, options, rate, argv)


def _rate(typed: str | None) -> float | None:
    """TFLOPS of --rate."""
    try:
        rate = float(typed) if typed is not None else None
    except ValueError:
        rate = -1.0
    if rate is not None and not 0 < rate < float("inf"):
        raise UserError(f"--rate {typed}: a number of TFLOPS (10^12 operations a second) greater than 0, such as 300.")
    return rate


def _with_notes(rows: list[list[str]], notes: list[str]) -> tuple[list[list[str]], None, list[str]]:
    return rows, None, notes


def _list(folder: str | None) -> int:
    rows = [["experiment", "title", "scales"]]
    for name in sorted(files(folder)):
        experiment = load(name, folder)
        rows.append([name, experiment.title, ", ".join(s for s in SCALES if s in experiment.scales)])
    print_table(rows, notes=["w2s reproduce NAME --plan shows the plan and its cost."])
    return train.DONE


def _reproduce(
    experiment: Experiment, overrides: dict[str, Any], options: argparse.Namespace, rate: float | None, argv: list[str]
) -> int:
    began = time.monotonic()
    scale: str = options.scale
    jobs, left_out = configurations(runs_at(experiment, scale, overrides), options.config_dir)
    store = Store(locate(options.outputs))
    if not options.plan:
        store.make()
    folders = [locate(options.config_dir)] if options.config_dir else []
    trackers.check(jobs[0].values["tracker"], folders, packages=not options.plan)
    resolver = Resolver(store, folders, hub="never" if options.plan else "required")
    graph = build(jobs, resolver)
    train.refuse_unread_words([word for word in options.words if "=" in word], graph, folders)
    train.refuse_resources(graph)
    targets, remotes = train.targets_of("train", graph), jobs[0].values["remotes"]
    look = partial(survey, graph, store, targets, ())
    _introduce(experiment, scale, jobs, left_out)
    if options.plan:
        plans = planned_with(look, remotes, store)
        show_plan(graph, plans, whole=False)
        show_cost(graph, plans, store, rate, option=True)
        _show_reported(experiment)
        if resolver.assumed:
            print(
                f"\nThe hub was not asked: models and data sets are planned by name ({named(sorted(resolver.assumed))}), so keys and "
                "states of their stages are not those of a run."
            )
        return train.DONE
    record = records.place(experiment, scale, store)  # hours of work come before it is written
    with held_run(graph, store, "reproduce", targets) as folder:
        plans = with_pulled(look, remotes, store)
        to_run = [stage for key, stage in graph.stages.items() if key in plans and plans[key].to_run]
        if not to_run:
            show_plan(graph, plans, whole=False)
        show_cost(graph, plans, store, rate, option=True)
        print(flush=True)
        if to_run:
            code = train.execute("reproduce", folder, graph, plans, store, to_run, argv)
            if code != train.DONE:
                return code
        else:
            train.finish(folder, graph, plans, store)
        return _conclude(record, experiment, scale, folder, graph, plans, store, seconds=time.monotonic() - began)


def _introduce(experiment: Experiment, scale: str, jobs: list[Composed], left_out: int) -> None:
    print(f"{experiment.title}\nsource: {experiment.source}\nscale: {scale}, {len(jobs)} runs of w2s train", end="")
    print(f" ({left_out} left out by pairs={jobs[0].values['pairs']})\n" if left_out else "\n")


def _show_reported(experiment: Experiment) -> None:
    """Print the figures of the paper, as far as they are on record."""
    figures = comparison.reported(experiment)
    if not figures:
        return
    columns = ("setting", "weak_model", "strong_model", "dataset", "method", "metric", "value")
    rows = [[*columns], *([figure[column] or "-" for column in columns] for figure in figures[:REPORTED])]
    more = len(figures) - REPORTED
    notes = [f"{more} more reported figures are in the experiment's CSV file"] if more > 0 else []
    print()
    print_table(rows, "reported figures", notes)


def _conclude(
    record: Path,
    experiment: Experiment,
    scale: str,
    folder: Path,
    graph: Graph,
    plans: dict[str, Planned],
    store: Store,
    *,
    seconds: float,
) -> int:
    """Print our and the reported figures and the dropped parts; write the record."""
    rows = comparison.compare(experiment, scale, folder, store)
    comparable = experiment.comparable(scale)
    print()
    print_table(comparison.table(rows, comparable=comparable), f"{experiment.title}: {scale} scale")
    if comparable:
        inside = [row.in_band for row in rows if row.in_band is not None]
        print(f"{sum(inside)} of {len(inside)} figures lie in their band.")
        for measure, band in experiment.bands.items():
            print(f"band of {measure}: ± {band['within']:g}, {band['why']}")
    else:
        print(
            f"Not comparable with the reported figures: the {scale} scale runs the same graph on other models and data."
        )
    for text in experiment.dropped(scale):
        print(f"dropped: {text}")
    records.write(record, experiment, scale, graph, plans, store, rows, seconds=seconds, folder=folder)
    print(f"record: {os.path.relpath(record)}")
    return train.DONE
