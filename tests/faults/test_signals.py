"""Signals that ask for a stop, at random moments, to the command, to its worker, or to both: it saves, says how to go on, and goes on.

A signal counts only if it was answered: the command ended by it, or, where Ctrl-C reaches the worker alone, went on with that worker.
tests/faults/test_resume.py has the same for real processes and terminals, one by one.
"""

import os
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import environment
from tests.faults import every_method
from tests.faults.counting import Tally, left_after_gc, unclaimable
from tests.faults.counting import finished as finished_stages
from tests.faults.test_kills import EVERY_STEP, LONGEST_S, compare, end_of, end_undisturbed
from w2s_cli.store.files import unique

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
TO = ("command", "worker", "both")
TURNS = 3  # each of them is hit so often
TRIES = 12  # a try is a miss where the command ends before the signal
WORDS = [*every_method.words("naive"), "seeds=2", *EVERY_STEP]


def ready() -> None:
    """Let the signals have the meaning that they have in a terminal, however these tests were started."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def begin(folder: Path, drawn: random.Random) -> tuple[BaseProcess, list[int], Path]:
    """The command, some time after the first of its workers has a stage; its workers, none if it has ended; what it prints."""
    log = folder / f"{unique()}.txt"
    process = forked.start([*WORDS, "outputs=killed"], folder, environment(), log, ready)
    while not any(folder.glob("killed/stages/*/*/owner.json")) and process.is_alive():
        time.sleep(0.01)
    process.join(drawn.uniform(0, 3))
    while not (workers := forked.workers(forked.pid_of(process))) and process.is_alive():
        time.sleep(0.01)  # at its beginning, or between two workers
    return process, workers if process.is_alive() else [], log


def sent(pid: int, number: signal.Signals) -> bool:
    """Whether the process still was there for the signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def got_through(process: BaseProcess, folder: Path, tally: Tally, log: Path) -> None:
    """Wait for a command that no signal stopped; a run that has nothing left to stop is compared and removed."""
    process.join(LONGEST_S)
    if process.exitcode != 0:
        tally.wrong.append(f"exit code {process.exitcode}: {log.read_text()[-1500:]}")
    compare(folder, tally)
    shutil.rmtree(folder / "killed")


@pytest.mark.faults
@pytest.mark.parametrize("number", SIGNALS, ids=[one.name for one in SIGNALS])
def test_a_signal_at_any_moment_saves_and_the_same_command_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    tally, drawn = Tally("signals", number.name), random.Random(number)
    assert end_of(WORDS, tmp_path, "plain") == 0, (tmp_path / "plain.txt").read_text()
    made: dict[str, str] = {}
    for to in TO * TURNS:
        for _ in range(TRIES):
            process, workers, log = begin(tmp_path, drawn)
            targets = {"command": [forked.pid_of(process)], "worker": workers[:1]}
            targets["both"] = [*workers, *targets["command"]] if workers else []
            reached = process.is_alive() and bool(targets[to]) and all([sent(one, number) for one in targets[to]])
            process.join(LONGEST_S)
            goes_on = reached and number == signal.SIGINT and to == "worker"  # Ctrl-C is the command's affair
            said = log.read_text()
            if process.exitcode not in (0, 75) or "Traceback" in said or (goes_on and process.exitcode):
                tally.wrong.append(f"to {to}: exit code {process.exitcode}: {said[-1500:]}")
            if process.exitcode == 75 and "Continue with: w2s train" not in said:
                tally.wrong.append(f"to {to}: {said[-500:]}")
            tally.wrong += [str(path) for path in (tmp_path / "killed").glob("stages/*/*/failed.json")]
            tally.stuck += unclaimable(tmp_path / "killed")
            now = finished_stages(tmp_path / "killed")
            tally.lost += [name for name in made if now.get(name) != made[name]]
            made = now
            if process.exitcode == 0:
                got_through(process, tmp_path, tally, log)
                made = {}
            if goes_on or process.exitcode != 0:
                tally.add(to)
                break
    assert tally.notes == dict.fromkeys(TO, TURNS), f"of {TRIES} tries each: {tally.notes}"
    end_undisturbed(WORDS, tmp_path, tally)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_one_ends_at_once_and_the_same_command_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    tally, drawn = Tally("signals", f"{number.name} twice"), random.Random(number)
    assert end_of(WORDS, tmp_path, "plain") == 0, (tmp_path / "plain.txt").read_text()
    for _ in range(TURNS + 1):
        for _ in range(TRIES):
            process, workers, log = begin(tmp_path, drawn)
            if not workers:  # it got through
                got_through(process, tmp_path, tally, log)
                continue
            sent(workers[0], signal.SIGSTOP)  # it cannot answer the first one
            for _ in range(2):
                sent(forked.pid_of(process), number)
                process.join(0.3)
            process.join(60)
            if process.exitcode == 0:  # the worker had done the last stage
                got_through(process, tmp_path, tally, log)
                continue
            tally.add("twice")
            if process.exitcode != 75:
                tally.stuck.append(f"exit code {process.exitcode}: {log.read_text()[-500:]}")
            tally.stuck += unclaimable(tmp_path / "killed")
            break
    assert tally.notes == {"twice": TURNS + 1}, f"of {TRIES} tries each"
    code = end_of(WORDS, tmp_path, "killed")
    tally.wrong += [] if code == 0 else [f"exit code {code}"]
    compare(tmp_path, tally)
    tally.stuck += left_after_gc(tmp_path / "killed")
    tally.close()
