"""What push, pull and import share: the choice of stages by keys and runs, progress, and the account of what was copied."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from w2s_cli.commands.options import file_size, stage_of
from w2s_cli.errors import UserError
from w2s_cli.remotes.fetch import THERE, Outcome, Watch
from w2s_cli.results.planned import planned_keys
from w2s_cli.results.runs import LATEST, find_runs
from w2s_cli.results.text_table import print_table
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.store import Store

LISTED = 40  # more stages than this are only counted
SHOWN = 6  # names in a message
DONE, REFUSED = 0, 2


def keys_of(store: Store, names: Sequence[str]) -> list[str]:
    """The keys that words of the command line name: a stage by the beginning of its key or folder, or the stages of a run.

    Raises:
        UserError: a word names neither, or several stages.
    """
    keys: dict[str, None] = {}
    for name in names:
        try:
            keys[stage_of(store, name).name[-KEY_DIGITS:]] = None
        except UserError as no_stage:
            keys.update(dict.fromkeys(_of_runs(store, name, no_stage)))
    return list(keys)


def _of_runs(store: Store, name: str, no_stage: UserError) -> Iterator[str]:
    """The keys of the runs with a name; raises `no_stage` if there are none, and UserError for a run without a plan."""
    try:
        runs = find_runs(store.root, name)
    except UserError as no_run:
        raise (no_run if name == LATEST else no_stage) from None
    if len(runs) > 1:
        raise UserError(f'"{name}" fits {len(runs)} runs: {named([run.name for run in runs])}. Give more of the name.')
    keys = planned_keys(runs[0])
    if keys is None:
        raise UserError(f"{runs[0]}: its plan cannot be read: run its command again, or name stages by their keys.")
    yield from sorted(keys)


def named(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:SHOWN]) + (f", … ({len(names)} in all)" if len(names) > SHOWN else "")


@contextmanager
def shown_progress(verb: str, total: int) -> Iterator[Watch]:
    """A bar of bytes on a terminal; nothing elsewhere. Yields what is told of every step."""
    if not sys.stdout.isatty() or not total:
        yield lambda count: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from w2s_cli.terminal import console

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console(), transient=True) as progress:
        task = progress.add_task(verb, total=total)
        yield lambda count: progress.update(task, advance=count)


def account(verb: str, copy: Callable[[], list[Outcome]], where: str) -> int:
    """Call `copy`, print its outcomes and their sum; returns the exit code: 2 if a stage was refused, else 0."""
    began = time.monotonic()
    outcomes = copy()
    seconds = time.monotonic() - began
    changed = [outcome for outcome in outcomes if outcome.word != THERE]
    listed = changed if len(changed) <= LISTED else [outcome for outcome in changed if not outcome.fine]
    if listed:
        times = Counter(_note(outcome) for outcome in listed)
        shared = {_note(o): o.word for o in listed if _note(o) and times[_note(o)] > 1}  # told once, below the table
        rows = [
            [o.name, o.word, file_size(o.bytes) if o.fine else "", "" if _note(o) in shared else _note(o)]
            for o in listed[:LISTED]
        ]
        notes = [f"{word}: {note}" for note, word in shared.items()]
        print_table([["stage", "outcome", "size", ""], *rows], notes=notes)
    print(summary(verb, outcomes, seconds, where))
    return DONE if all(outcome.fine for outcome in outcomes) else REFUSED


def _note(outcome: Outcome) -> str:
    return outcome.detail or ("without its weights" if outcome.left_out else "")


def summary(verb: str, outcomes: Sequence[Outcome], seconds: float, where: str) -> str:
    """'pushed 5 stages (12.3 MB, 40.1 MB/s) to URL; 3 already there; 1 conflict'"""
    copied = [outcome for outcome in outcomes if outcome.fine and outcome.word != THERE]
    size = sum(outcome.bytes for outcome in copied)
    rate = f", {file_size(round(size / seconds))}/s" if size and seconds > 0 else ""
    parts = [f"{verb} {counted(len(copied))} ({file_size(size)}{rate}) {where}"]
    parts += [f"{sum(outcome.word == THERE for outcome in outcomes)} {THERE}"]
    parts += [f"{count} {word}" for word, count in Counter(o.word for o in outcomes if not o.fine).items()]
    return "; ".join(parts)


def counted(number: int) -> str:
    """'1 stage', '2 stages'"""
    return "1 stage" if number == 1 else f"{number} stages"
