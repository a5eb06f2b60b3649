"""`w2s status [RUN]`: the stages of a run with their states, read from files. The run may be active elsewhere.

A batch system is asked for the jobs of stages in its queue, and only then."""

import os
from collections import Counter

from w2s_cli.commands.options import RUN, parse, parser, store_of
from w2s_cli.results.reader import read_run
from w2s_cli.results.runs import LATEST, find_run
from w2s_cli.results.text_table import print_table
from w2s_cli.run.queueing import job_states
from w2s_cli.search.record import trials_in


def run(argv: list[str]) -> int:
    """Print the states of the stages of one run."""
    arg_parser = parser("status", "Show the states of the stages of a run (default: the latest).")
    arg_parser.add_argument("run", nargs="?", default=LATEST, metavar="RUN", help=RUN)
    options = parse(arg_parser, argv)
    store = store_of(options)
    jobs = job_states(store)
    shown_run = read_run(find_run(store.root, options.run), store)
    rows, counts = [["stage", "kind", "key", "state", ""]], dict[str, int]()
    names = Counter(stage.name for stage in shown_run.stages)
    for stage in shown_run.stages:
        state = stage.state
        counts[state.word] = counts.get(state.word, 0) + 1
        detail = (
            f"{state.record['wall_s']:.1f} s" if state.word == "done" and "wall_s" in state.record else state.detail
        )
        detail = ", ".join(filter(None, [detail if state.word != "queued" else "", jobs.get(stage.key)]))
        name = stage.planned.get("slug", stage.name) if names[stage.name] > 1 else stage.name  # of a sweep
        rows.append([name, stage.kind, stage.key, state.word, detail])
    notes = [", ".join(f"{count} {word}" for word, count in counts.items())]
    trials = trials_in(shown_run.folder)  # of a search; the stages of an open one are planned when its batch begins
    if trials:
        notes.append(f"trials: {', '.join(f'{count} {word}' for word, count in trials.items())}")
    print_table(rows, title=os.path.relpath(shown_run.folder), notes=notes)
    return 0
