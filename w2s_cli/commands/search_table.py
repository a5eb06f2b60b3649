"""The trials of a search as a table, and the command that runs the best one with several seeds.

What a trial was chosen by stands apart from what it reached on the test rows, which chose nothing.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from w2s_cli.config.searching import Searched, of_words
from w2s_cli.pipeline.validation import POOL
from w2s_cli.results.text_table import number, pgr_value, print_table
from w2s_cli.search.record import LARGER, Study, Trial

SEEDS = 5  # of the printed command
DIGITS = 4
WHY = 60  # characters of the reason of a failure


def show_trials(
    studies: Sequence[Study],
    metric: str,
    searched: Searched,
    tests: Mapping[tuple[int, int], Mapping[str, Any]],
) -> None:
    """Print a table for each setting.

    Args:
        tests: (number of the study, number of the trial) → metrics on the test rows.
    """
    for place, study in enumerate(studies):
        best = study.best(metric)
        tested = {trial: metrics for (own, trial), metrics in tests.items() if own == place}
        notes = _notes(study, best, metric, searched, tested=bool(tested))
        print()
        print_table(_rows(study, best, metric, searched, tested), " ".join(["trials", *study.words]), notes)


def _rows(
    study: Study, best: int | None, metric: str, searched: Searched, tested: Mapping[int, Mapping[str, Any]]
) -> list[list[str]]:
    names = [dimension.name for dimension in searched.space]
    test = ["test accuracy*", "PGR*"] if tested else []
    rows = [["trial", *names, f"{metric} on {POOL}", *test, ""]]
    for place, trial in enumerate(study.trials):
        figures = _figures(tested.get(place)) if tested else []
        values = [str(trial.params[name]) for name in names]
        word = "best" if place == best else _failure(trial)
        rows.append([str(place + 1), *values, number(trial.score, DIGITS), *figures, word])
    return rows


def _failure(trial: Trial) -> str:
    return f"failed: {trial.why.partition(chr(10))[0][:WHY]}" if trial.state == "failed" else ""


def _figures(metrics: Mapping[str, Any] | None) -> list[str]:
    """The student's accuracy on the test rows, and PGR."""
    if metrics is None or "student" not in metrics:
        return ["-", "-"]
    return [number(metrics["student"]["accuracy"]), pgr_value(metrics["pgr"]) if "pgr" in metrics else "-"]


def _notes(study: Study, best: int | None, metric: str, searched: Searched, *, tested: bool) -> list[str]:
    direction = "largest" if LARGER[metric] else "smallest"
    seeds = max((len(trial.per_seed) for trial in study.trials), default=1)
    over = f", the mean over {seeds} seeds" if seeds > 1 else ""
    notes = [
        f"Chosen by the {direction} {metric} of the student on {POOL}, against the weak labels of these rows{over}; no ground truth."
    ]
    if tested:
        notes.append("* on test rows, against ground truth: not used for the choice.")
    if best is not None:
        words = [*searched.fixed, *study.words, *of_words(study.trials[best].params), f"seeds={SEEDS}"]
        notes.append(f"The best trial with {SEEDS} seeds: {shlex.join(['w2s', 'train', *words])}")
    return notes
