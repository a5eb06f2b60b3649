"""A stage as a job of Slurm, through submitit: the process on the node that starts the worker and decides what becomes of the job.

* The end of the time limit, and preemption: the worker saves and stops, then submitit's own handler puts the job back into the queue.
  submitit would do so at the signal, before anything is saved, so its handler waits here for the worker.
* A stop that a user asks for: the worker saves, and the job ends.
* The job fails where its stage fails, so that jobs after it do not start. Its message is in the stage's failed.json, as on one machine.
* Slurm sends SIGTERM for `scancel` and for preemption alike. A job that Slurm still calls running was not cancelled.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from w2s_cli.run.workplace import EXIT_STOPPED, worker_command, worker_environment
from w2s_cli.store.keys import KEY_DIGITS
from w2s_cli.store.publishing import write_failed
from w2s_cli.store.queued import leave_queue

TIME_UP, ASKED = signal.SIGUSR2, signal.SIGUSR1  # from Slurm before the time limit (submitit's signal); from w2s
HANDLED = (TIME_UP, ASKED, signal.SIGTERM)
LOOK_S = 1.0
ASK_S = 60


class StageJob:
    """One stage; submitit calls it on the node, and keeps it for the next time when the job goes back into the queue."""

    def __init__(self, folder: Path, redo: str | None, processes: int) -> None:
        self.folder = folder
        self.redo = redo
        self.processes = processes

    def checkpoint(self) -> Any:
        """What runs when the job starts again: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Run the stage; ends the process with the worker's code unless that is 0."""
        signals: list[int] = []
        requeue: Callable[[int, FrameType | None], Any] = signal.getsignal(TIME_UP)  # type: ignore[assignment] # submitit's
        for number in HANDLED:
            signal.signal(number, lambda number, _: signals.append(number))
        worker = subprocess.Popen(
            worker_command(self.folder, self.redo, self.processes),
            env={**os.environ, **worker_environment()},
            preexec_fn=_ignore_signals,
        )
        code: int | None = None
        while code is None:
            if signals:  # again and again: the worker may not have listened the first time
                worker.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                code = worker.wait(timeout=LOOK_S)
        if code == EXIT_STOPPED and (TIME_UP in signals or (signal.SIGTERM in signals and _still_running())):
            self._again(requeue)
        if code < 0:
            write_failed(self.folder, f"its worker was killed by signal {-code} (out of memory?)")
        leave_queue(self.folder.parents[2], self.folder.name[-KEY_DIGITS:])
        if code:
            sys.exit(code if code > 0 else 1)

    def _again(self, requeue: Callable[[int, FrameType | None], Any]) -> None:
        """Back into the queue; this ends the process, or raises where the job has reached its time limit too often."""
        try:
            requeue(TIME_UP, None)
        except Exception as error:
            write_failed(
                self.folder,
                f"its job does not go back into the queue ({error}): raise launcher.minutes or launcher.timeouts; "
                "the same command continues from the last checkpoint",
            )
            leave_queue(self.folder.parents[2], self.folder.name[-KEY_DIGITS:])
            raise


def _ignore_signals() -> None:
    """In the worker before it starts: until it has its own handlers, no signal ends it. Slurm sends them to every process of the job."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def _still_running() -> bool:
    """Whether Slurm calls this job running: it was not cancelled. False if Slurm does not answer."""
    return state_of(os.environ.get("SLURM_JOB_ID", ""))[0] == "RUNNING"


def state_of(job: str) -> tuple[str, str]:
    """State of a job and its reason, ("PENDING", "Resources"), from scontrol; ("", "") if it does not answer or has forgotten the job."""
    done = ask("scontrol", "--oneliner", "show", "job", job)
    state = re.search(r"\bJobState=(\w+) Reason=(\S+)", done.stdout if done is not None else "")
    return (state[1], "" if state[2] == "None" else state[2]) if state else ("", "")


def ask(*words: str) -> "subprocess.CompletedProcess[str] | None":
    """The answer of a program of Slurm; None if there is none."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(words, capture_output=True, text=True, timeout=ASK_S, check=False)
    return None
