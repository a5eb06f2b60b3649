"""The stages of a command as jobs of a batch system: all are submitted at once, then watched until they are done.

* Every distinct stage to run is a job that starts after the jobs of its inputs, so no job waits with a node in its hands. A stage that
  another command has submitted is waited for, not submitted again.
* The command watches files: a stage is done when its record is there, and failed when its failed.json is. The system is asked for the
  jobs that wait, and for those that ended without either.
* Ctrl-C: running jobs save and end, waiting ones are cancelled, but for those that another command waits for too; a second one cancels
  without saving. A signal of a batch system, or a closed terminal, ends the command only: its jobs go on.
"""

import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from w2s_cli.run import launchers, signals
from w2s_cli.run.arrays import arrays
from w2s_cli.run.followed import Followed
from w2s_cli.run.launchers import Queue, Submitted
from w2s_cli.run.outcome import Outcome
from w2s_cli.run.preparing import prepare, redo_of
from w2s_cli.run.queueing import job_states
from w2s_cli.run.resources import processes_of, resources
from w2s_cli.run.work import Work
from w2s_cli.store.claims import is_claimed
from w2s_cli.store.files import unique
from w2s_cli.store.holds import holds
from w2s_cli.store.publishing import write_failed
from w2s_cli.store.queued import QUEUE, enter_queue, leave_queue, queued, submitting

GONE_S = 15.0  # after which a job that the system no longer has, and that left no outcome, counts as lost: files may come late
WRITERS = 16  # threads that prepare folders: a disk, or a file server, makes many small files durable together
STEP_S = 0.2  # of waiting, between two looks at the signals


class Batch:
    """State of one command whose stages run as jobs."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.graph = work.graph
        self.store = work.store
        self.plans = work.plans
        self.launcher = work.launcher
        self.view = work.view
        self.outcome = work.outcome
        self.files = self.store.own(self.store.root / QUEUE / f"{self.launcher['name']}-{unique()}")
        self.queue: Queue = launchers.find(self.launcher["name"]).queue(self.launcher, self.files)
        self.pending = work.to_run
        self.folders: dict[str, Path] = {}
        self.jobs: dict[str, str] = {}  # stage that is waited for → id of its job
        self.logs: dict[str, Path] = {}  # stage → what its job prints outside of the stage's own log
        self.gone: dict[str, float] = {}  # stage → time at which its job was missing first
        self.followed: dict[str, Followed] = {}
        self.asked = 0  # how often a signal asked to stop the jobs
        self.stopping = False  # the jobs have been told
        self.leaving = bool(self.launcher["detach"])  # the command ends, its jobs go on

    def run(self) -> Outcome:
        """Submit all stages to run; returns when they are done, failed or stopped, or left to the system."""
        with self._signals():
            while self.pending and not self.asked:
                self._submit()
                while self.jobs and not self.leaving:
                    self._wait()
                    self._look()
                if self.leaving:
                    break
        self.outcome.left = list(self.jobs)
        if not self.jobs and not self.outcome.failed and not self.outcome.stopped:
            shutil.rmtree(self.files, ignore_errors=True)
        return self.outcome

    def _submit(self) -> None:
        """Submit the pending stages that no job is going to make."""
        keys, self.pending = self.pending, []
        new: dict[str, Submitted] = {}
        with submitting(self.store.root):
            job_states(self.store)
            waiting = queued(self.store.root)
            present = {key: job["job"] for key, job in waiting.items()}
            with ThreadPoolExecutor(WRITERS) as pool:
                for key, stage in zip(keys, pool.map(self._prepared, keys), strict=True):
                    self.folders[key], self.followed[key] = stage.folder, Followed(stage.folder)
                    if key in present:
                        self.jobs[key], self.logs[key] = present[key], Path(waiting[key]["log"])
                    else:
                        new[key] = stage
            for key in new:  # the one that comes is of the new job: the clocks of two machines are not compared
                (self.folders[key] / "failed.json").unlink(missing_ok=True)
            made = arrays(
                {key: self.work.upstream[key] for key in new},
                lambda key: (self.graph.stages[key].name, self.graph.stages[key].kind, repr(new[key].resources)),
                present,
                self.launcher["array_size"],
            )
            for key, job, log in self.queue.submit(made, new):
                self.jobs[key], self.logs[key] = job, log
                enter_queue(
                    self.store.root,
                    key,
                    {
                        "launcher": self.launcher["name"],
                        "job": job,
                        "submitted": time.time(),
                        "log": str(log),
                        "inputs": self.work.upstream[key],
                    },
                )
        old = f"; {len(keys) - len(new)} are in the queue already" if len(new) < len(keys) else ""
        print(f"{len(new)} stages submitted to {self.launcher['name']} in {len(made)} submissions{old}", flush=True)

    def _prepared(self, key: str) -> Submitted:
        """The job of a stage, whose folder is ready for it."""
        stage = self.graph.stages[key]
        wanted, processes = resources(stage, self.launcher), processes_of(stage, self.launcher)
        threads = self.launcher["threads"] or max(1, wanted["cpus"] // processes)
        chosen = {"threads": threads, "cores": wanted["cpus"], "processes": processes}
        folder = prepare(stage, self.store, self.launcher, **chosen)
        return Submitted(f"w2s-{stage.slug}", folder, redo_of(self.plans[key]), processes, wanted)

    def _look(self) -> None:
        """Take the outcomes and positions of all awaited stages."""
        states = self.queue.states(list(self.jobs.values()))
        for key, job in list(self.jobs.items()):
            if key in self.jobs:  # a failed input takes its readers out
                self._look_at(key, None if states is None else states.get(job, ""))

    def _look_at(self, key: str, state: str | None) -> None:
        """Take the outcome or position of a stage; `state` is its job's: "" if the system has it no more, None if unknown."""
        folder = self.folders[key]
        outcome = self.followed[key].outcome(redo_of(self.plans[key]))
        if outcome and outcome["event"] == "done":
            self._done(key, outcome)
        elif outcome and not is_claimed(folder):
            self._failed(key, outcome["message"], user=outcome["user"])
        elif state == "" and not is_claimed(folder):
            if time.monotonic() - self.gone.setdefault(key, time.monotonic()) >= (0 if self.stopping else GONE_S):
                self._lost(key)
        elif state is None or state.startswith("RUNNING"):
            self._running(key)

    def _running(self, key: str) -> None:
        """Show the start and the progress of a stage."""
        for event in self.followed[key].events():
            self.view(self.graph.stages[key], event)

    def _done(self, key: str, event: dict[str, Any]) -> None:
        del self.jobs[key]
        self.pending += self.work.made(key, self.folders[key])
        self.view(self.graph.stages[key], event)

    def _failed(self, key: str, message: str, *, user: bool) -> None:
        del self.jobs[key]
        lost = self.work.failed(key, message, self.jobs, user=user)
        if lost:  # the system removes them too, later
            self.queue.stop([self.jobs.pop(one) for one in lost], now=True)
        for other in lost:
            leave_queue(self.store.root, other)
        self.view(self.graph.stages[key], {"event": "failed", "message": message})

    def _lost(self, key: str) -> None:
        """The system has the job no more, and the stage has no outcome."""
        job = self.jobs[key]
        leave_queue(self.store.root, key)
        if self.stopping:
            del self.jobs[key]
            self.outcome.stopped = True
            self.view(self.graph.stages[key], {"event": "stopped"})
            return
        how, log = self.queue.end_of(job), self.logs[key]
        advice = (
            f"what it printed is in {log}" if log.exists() else f"it has not started, or left no log: {log} is missing"
        )
        ended = f"its job {job} ended without a result{f' ({how})' if how else ''}"
        message = f"{ended}; {advice}. The same command continues from the last checkpoint"
        write_failed(self.folders[key], message)
        self._failed(key, message, user=False)

    def _wait(self) -> None:
        """Wait until it is time for a look; a signal is heeded at once."""
        end = time.monotonic() + self.launcher["poll_seconds"]
        while time.monotonic() < end and not self.leaving:
            if self.asked and not self.stopping:
                self._stop()
            if self.asked > 1:
                self._cancel()
                return
            time.sleep(STEP_S)

    def _stop(self) -> None:
        """Cancel the jobs that no other command waits for; those that run save first."""
        self.stopping = self.outcome.stopped = True
        others = [hold for hold in holds(self.store.root) if hold.run.parent.name != QUEUE]
        for key in [key for key in self.jobs if any(hold.has(key) for hold in others)]:
            del self.jobs[key]
        self.queue.stop(list(self.jobs.values()), now=False)

    def _cancel(self) -> None:
        """Cancel the jobs without saving."""
        self.queue.stop(list(self.jobs.values()), now=True)
        for key in self.jobs:
            leave_queue(self.store.root, key)
        self.jobs.clear()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Count the signals that insist; another one ends the command alone."""

        def handler(number: int, _: object) -> None:
            if number in signals.INSISTING:
                self.asked += 1
            else:
                self.leaving = self.outcome.stopped = True

        old_handlers = signals.handle(handler)
        try:
            yield
        finally:
            for number, old in old_handlers.items():
                signal.signal(number, old)
