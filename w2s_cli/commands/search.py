"""`w2s train -m strong.lr='interval(…)' search.trials=20`: a search for the settings whose student agrees best with held-out weak labels.

* A batch of trials is proposed, run and scored; then the next batch is proposed. The trials of all batches are one graph: weak supervisor,
  labels and everything else that they share run once, and the trials of a batch run side by side.
* A trial ends with its score, the `validate` stage. The best trial, or with `search.test=all` every trial, is run on the test rows at the
  end, so no choice depends on them.
* All trials of a search are compared by the same labels of the same rows, which is checked before anything runs, with both ends of every
  interval.
* The same command goes on after any end: search.json has the proposed trials and their outcomes, the store their stages. A failed trial
  is told as failed. Where no trial of a batch has a score, the search stops, and the same command repeats the batch.
"""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from w2s_cli.commands.elsewhere import planned_with, with_pulled
from w2s_cli.commands.search_table import show_trials
from w2s_cli.commands.search_trials import Place, Search
from w2s_cli.commands.show_plan import show_whole_plan
from w2s_cli.commands.train import (
    DONE,
    FAILED,
    INTERRUPTED,
    USER_ERROR,
    check_writable,
    execute,
    finish,
    print_failures,
    run_stages,
    tell_assumed,
)
from w2s_cli.config.searching import GROUP, Searched
from w2s_cli.errors import UserError
from w2s_cli.pipeline.packages import need
from w2s_cli.pipeline.states import survey
from w2s_cli.results.writer import held_run, write_run
from w2s_cli.search import sampler
from w2s_cli.search.record import write_record


def run(command: str, searched: Searched, folders: list[Path], force: list[str], argv: list[str]) -> int:
    """Run or plan a search; returns the exit code."""
    if force:
        raise UserError(
            f"--force {force[0]} has no use in a search, which runs in batches: make the stage again in a run of its own, then search."
        )
    need(sampler.PACKAGE, f"a search ({GROUP}.trials) needs")
    search = Search(command, searched, folders)
    if command == "plan":
        return _plan(search)
    check_writable(search.store)
    again = shlex.join(["w2s", command, *argv])
    while places := search.propose():
        code = _batch(search, places, again)
        if code != DONE:
            return code
    return _end(search, command, argv)


def _plan(search: Search) -> int:
    """Show the stages of the trials so far and of the next batch."""
    places = search.propose()
    targets = search.scores([*search.scored(), *places]) + ([] if places else search.wholes(search.tested()))
    look = partial(survey, search.graph, search.store, targets, set())
    show_whole_plan(search.graph, planned_with(look, search.remotes, search.store), search.store)
    tell_assumed(search.resolver)
    print(f"{_which(search, places)}; the scores decide on later ones." if places else "All trials have an outcome.")
    return DONE


def _which(search: Search, places: Sequence[Place]) -> str:
    """'search: trials 5 to 8 of 20'; a trial is numbered from 1 for people."""
    numbers = sorted({trial + 1 for _, trial in places})
    span = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {numbers[0]} to {numbers[-1]}"
    settings = len({study for study, _ in places})
    of_each = f", of each of {settings} settings" if settings > 1 else ""
    return f"search: {span} of {search.config['trials']}{of_each}"


def _batch(search: Search, places: list[Place], again: str) -> int:
    """Run the trials of one batch up to their scores, and record them; returns the exit code."""
    graph, store = search.graph, search.store
    targets = search.scores([*search.scored(), *places])
    with held_run(graph, store, "train", targets, search.name) as folder:
        write_record(folder, search.identity, search.studies)
        plans = with_pulled(partial(survey, graph, store, targets, set()), search.remotes, store)
        to_run = [graph.stages[key] for key in graph.stages if key in plans and plans[key].to_run]
        write_run(folder, graph, plans)
        print(f"{_which(search, places)}, {len(to_run)} stages to run", flush=True)
        outcome = run_stages(folder, graph, plans, store, to_run)
        print_failures(outcome, graph, store)
        if outcome.stopped:
            print(f"\nstopped; finished work is saved. Continue with: {again}", file=sys.stderr)
            return INTERRUPTED
        if not search.close(places, outcome.failed):
            metric = search.config["metric"]
            undefined = (
                f"{metric} is not defined, as where all weak labels are of one class: choose another {GROUP}.metric."
            )
            cause = "correct the cause, then run the same command again." if outcome.failed else undefined
            print(f"\nno trial of this batch has a score: {cause}", file=sys.stderr)
            return FAILED if outcome.failed and not outcome.user_error else USER_ERROR
        write_record(folder, search.identity, search.studies)
    return DONE


def _end(search: Search, command: str, argv: list[str]) -> int:
    """Run the chosen trials up to PGR, and show all trials; returns the exit code."""
    graph, store = search.graph, search.store
    targets = search.scores(search.scored()) + search.wholes(search.tested())
    with held_run(graph, store, "train", targets, search.name) as folder:
        plans = with_pulled(partial(survey, graph, store, targets, set()), search.remotes, store)
        to_run = [graph.stages[key] for key in graph.stages if key in plans and plans[key].to_run]
        code = (
            execute(command, folder, graph, plans, store, to_run, argv)
            if to_run
            else finish(folder, graph, plans, store)
        )
    if code == DONE:
        show_trials(search.studies_kept(), search.config["metric"], search.searched, search.tests())
    return code
