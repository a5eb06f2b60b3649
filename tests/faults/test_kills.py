"""SIGKILL at random moments of every method's pipeline: the worker, the command, or both; the same command continues to the same bytes.

* The moments, and who is killed, are drawn from the seed that stands in the counts. A kill counts only if its process was alive.
* After each kill all finished stages are still finished, and every stage can be claimed. After the last the command runs to its end, whose
  files are compared with those of a run that nobody disturbed.
* FAULTS_KILLS: kills of all methods together (default 336: 12 a method).
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import environment
from tests.faults import every_method
from tests.faults.counting import Tally, finished, left_after_gc, unclaimable
from tests.faults.test_resume import artifacts

pytestmark = pytest.mark.faults
METHODS = every_method.names()
KILLS = int(os.environ.get("FAULTS_KILLS", 12 * len(METHODS)))
SEED = int(os.environ.get("FAULTS_SEED", "14"))
LONGEST_S = 900.0  # of a run that is not disturbed
EVERY_STEP = ["launcher.checkpoint_seconds=0", "launcher.log_every=1"]
WHO = ("worker", "worker", "command", "both")


@pytest.mark.parametrize("method", METHODS)
def test_kills_at_random_moments_lose_nothing_and_change_no_byte(method: str, tmp_path: Path) -> None:
    kills = KILLS // len(METHODS) + (METHODS.index(method) < KILLS % len(METHODS))
    if not kills:
        pytest.skip("FAULTS_KILLS gives this method none")
    drawn = random.Random(f"{SEED} {method}")
    words, tally = [*every_method.words(method), *EVERY_STEP], Tally("kills", f"method={method}, seed {SEED}")
    assert end_of(["--version"], tmp_path, "warm") == 0  # the server has imported everything
    began = time.monotonic()
    assert end_of(words, tmp_path, "plain") == 0, (tmp_path / "plain.txt").read_text()
    whole = time.monotonic() - began
    made: dict[str, str] = {}
    while tally.made < kills:
        if (who := killed(words, tmp_path, drawn, whole)) is None:  # it got through: there is nothing to kill any more
            compare(tmp_path, tally)
            shutil.rmtree(tmp_path / "killed")
            made, whole = {}, 0.7 * whole
            continue
        tally.add(who)
        tally.stuck += unclaimable(tmp_path / "killed")
        now = finished(tmp_path / "killed")
        tally.lost += [name for name in made if now.get(name) != made[name]]
        made = now
    end_undisturbed(words, tmp_path, tally)


def end_undisturbed(words: list[str], tmp_path: Path, tally: Tally) -> None:
    """Run the command to its end, and count what is not as in a run that nobody disturbed."""
    code = end_of(words, tmp_path, "killed")
    tally.wrong += [] if code == 0 else [f"exit code {code}: {(tmp_path / 'killed.txt').read_text()[-2000:]}"]
    compare(tmp_path, tally)
    tally.stuck += left_after_gc(tmp_path / "killed")
    tally.close()


def end_of(words: list[str], folder: Path, outputs: str) -> int | None:
    """The exit code of a command that nobody disturbs."""
    place = [f"outputs={outputs}"] if words[0] != "--version" else []
    process = forked.start([*words, *place], folder, environment(), folder / f"{outputs}.txt")
    process.join(LONGEST_S)
    if process.exitcode is None:
        os.killpg(forked.pid_of(process), signal.SIGKILL)
    return process.exitcode


def killed(words: list[str], folder: Path, drawn: random.Random, whole: float) -> str | None:
    """Start the command and kill at a random moment; returns who was killed, None if the command ended before."""
    process = forked.start([*words, "outputs=killed"], folder, environment(), folder / "killed.txt")
    who, wait = drawn.choice(WHO), drawn.uniform(0, 0.6) * whole
    pid = forked.pid_of(process)
    process.join(wait)
    workers = forked.workers(pid)
    if not process.is_alive():
        assert process.exitcode == 0, (folder / "killed.txt").read_text()[-3000:]
        return None
    if who == "worker" and not workers:
        who = "command"
    if who == "worker":
        os.kill(workers[0], signal.SIGKILL)
    elif who == "command":
        os.kill(pid, signal.SIGKILL)
    else:
        os.killpg(pid, signal.SIGKILL)
    process.join(LONGEST_S)
    if (
        process.exitcode == 0
    ):  # the worker had no stage at that moment, so another one went on; or the command was at its end
        return "worker without a stage" if who == "worker" else None
    assert process.exitcode == (1 if who == "worker" else -signal.SIGKILL), (folder / "killed.txt").read_text()[-3000:]
    return who


def compare(folder: Path, tally: Tally) -> None:
    """Count the stages whose results differ from those of the run that nobody disturbed."""
    plain, other = artifacts(folder / "plain"), artifacts(folder / "killed")
    tally.wrong += [f"other result: {key}" for key in plain if other.get(key) != plain[key]]
    tally.wrong += [f"unasked stage: {key}" for key in other if key not in plain]
