"""Signals that ask for a stop, at random moments, to the command, to its worker, or to both: it saves, says how to go on, and goes on.

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

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
TO = ("command", "worker", "both")
WORDS = [*every_method.words("naive"), "seeds=2", *EVERY_STEP]


def ready() -> None:
    """Let the signals have the meaning that they have in a terminal, however these tests were started."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def busy(outputs: Path, process: BaseProcess, drawn: random.Random) -> list[int]:
    """The workers of a command, some time after the first of them has a stage; [] if it ended."""
    while not any(outputs.glob("stages/*/*/owner.json")) and process.is_alive():
        time.sleep(0.01)
    time.sleep(drawn.uniform(0, 3))
    return forked.workers(forked.pid_of(process))


@pytest.mark.faults
@pytest.mark.parametrize("number", SIGNALS, ids=[one.name for one in SIGNALS])
def test_a_signal_at_any_moment_saves_and_the_same_command_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    tally, drawn = Tally("signals", number.name), random.Random(number)
    assert end_of(WORDS, tmp_path, "plain") == 0, (tmp_path / "plain.txt").read_text()
    made: dict[str, str] = {}
    for to in TO * 3:
        log = tmp_path / f"{tally.made}.txt"
        process = forked.start([*WORDS, "outputs=killed"], tmp_path, environment(), log, ready)
        workers, pid = busy(tmp_path / "killed", process, drawn), forked.pid_of(process)
        if not process.is_alive():  # it got through: there is nothing to stop any more
            compare(tmp_path, tally)
            shutil.rmtree(tmp_path / "killed")
            made = {}
            continue
        targets = {"command": [pid], "worker": workers[:1] or [pid], "both": [*workers, pid]}[to]
        for target in targets:
            os.kill(target, number)
        tally.add(to)
        process.join(LONGEST_S)
        goes_on = number == signal.SIGINT and targets == workers[:1]  # Ctrl-C is the command's affair
        said = log.read_text()
        if process.exitcode not in ((0,) if goes_on else (0, 75)) or "Traceback" in said:
            tally.wrong.append(f"to {to}: exit code {process.exitcode}: {said[-1500:]}")
        if process.exitcode == 75 and "Continue with: w2s train" not in said:
            tally.wrong.append(f"to {to}: {said[-500:]}")
        tally.wrong += [str(path) for path in (tmp_path / "killed").glob("stages/*/*/failed.json")]
        tally.stuck += unclaimable(tmp_path / "killed")
        now = finished_stages(tmp_path / "killed")
        tally.lost += [name for name in made if now.get(name) != made[name]]
        made = now
    end_undisturbed(WORDS, tmp_path, tally)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_one_ends_at_once_and_the_same_command_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    tally, drawn = Tally("signals", f"{number.name} twice"), random.Random(number)
    assert end_of(WORDS, tmp_path, "plain") == 0, (tmp_path / "plain.txt").read_text()
    for turn in range(4):
        log = tmp_path / f"{turn}.txt"
        process = forked.start([*WORDS, "outputs=killed"], tmp_path, environment(), log, ready)
        workers, pid = busy(tmp_path / "killed", process, drawn), forked.pid_of(process)
        if not workers:  # between two of them, or it got through
            process.join(LONGEST_S)
            continue
        os.kill(workers[0], signal.SIGSTOP)  # it cannot answer the first one
        os.kill(pid, number)
        time.sleep(0.3)
        os.kill(pid, number)
        tally.add("twice")
        process.join(60)
        if process.exitcode != 75:
            tally.stuck.append(f"exit code {process.exitcode}: {log.read_text()[-500:]}")
        tally.stuck += unclaimable(tmp_path / "killed")
    code = end_of(WORDS, tmp_path, "killed")
    tally.wrong += [] if code == 0 else [f"exit code {code}"]
    compare(tmp_path, tally)
    tally.stuck += left_after_gc(tmp_path / "killed")
    tally.close()
