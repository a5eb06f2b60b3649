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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.states import Planned
from w2s_cli.run import launchers, signals
from w2s_cli.run.arrays import arrays
from w2s_cli.run.launchers import Queue, Submitted
from w2s_cli.run.order import below, readers
from w2s_cli.run.outcome import Outcome
from w2s_cli.run.outdated import outdated
from w2s_cli.run.preparing import prepare, processes_of, redo_of
from w2s_cli.run.pruning import Pruning
from w2s_cli.run.queueing import job_states
from w2s_cli.run.resources import check_names, resources
from w2s_cli.store.claims import is_claimed
from w2s_cli.store.files import read_json, unique, write_json
from w2s_cli.store.holds import holds
from w2s_cli.store.position import read_progress
from w2s_cli.store.queued import QUEUE, enter_queue, leave_queue, queued, submitting
from w2s_cli.store.shapes import fits, read_record
from w2s_cli.store.store import Store

GONE_S = 15.0  # after which a job that the system no longer has, and that left no outcome, counts as lost: files may come late
STEP_S = 0.2  # of waiting, between two looks at the signals


class _Failed(TypedDict):
    """failed.json."""

    message: str
    user: bool


class Batch:
    """State of one command whose stages run as jobs."""

    def __init__(
        self,
        graph: Graph,
        store: Store,
        plans: dict[str, Planned],
        launcher: dict[str, Any],
        view: Callable[[Stage, dict[str, Any]], None],
        *,
        keep_weights: bool = True,
    ) -> None:
        self.graph = graph
        self.store = store
        self.plans = plans
        self.launcher = launcher
        self.view = view
        self.pruning = None if keep_weights else Pruning(graph, plans, store)
        self.files = store.own(store.root / QUEUE / f"{launcher['name']}-{unique()}")
        self.queue: Queue = launchers.find(launcher["name"]).queue(launcher, self.files)
        check_names(graph.stages.values(), launcher)
        self.pending = [key for key in graph.stages if key in plans and plans[key].to_run]
        self.outcome = Outcome(cached=[key for key, plan in plans.items() if not plan.to_run and plan.state.digest])
        self.readers = readers({key: stage.upstream() for key, stage in graph.stages.items()})
        self.folders: dict[str, Path] = {}
        self.jobs: dict[str, str] = {}  # stage that is waited for → id of its job
        self.logs: dict[str, str] = {}  # stage → log of its job
        self.gone: dict[str, float] = {}  # stage → time at which its job was missing first
        self.told: dict[str, Any] = {}  # stage → its last progress
        self.asked = 0  # how often a signal asked to stop the jobs
        self.stopping = False  # the jobs have been told
        self.leaving = bool(launcher["detach"])  # the command ends, its jobs go on

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
        with submitting(self.store.root):
            job_states(self.store)
            present = {key: job["job"] for key, job in queued(self.store.root).items()}
            for key in keys:
                stage = self.graph.stages[key]
                merged = resources(stage, self.launcher)
                device, processes = self.launcher["device"], processes_of(stage, self.launcher)
                chosen = {"threads": self.launcher["threads"] or max(1, merged["cpus"] // processes)}
                chosen |= {"cores": merged["cpus"], "processes": processes}
                chosen |= {"device": device if isinstance(device, str) else "auto"}
                self.folders[key] = prepare(stage, self.store, self.launcher, **chosen)
            self.jobs |= {key: present[key] for key in keys if key in present}
            self.logs |= {key: str(job["log"]) for key, job in queued(self.store.root).items()}
            new = {key: self._submitted(key) for key in keys if key not in present}
            for key in new:  # the one that comes is of the new job: the clocks of two machines are not compared
                (self.folders[key] / "failed.json").unlink(missing_ok=True)
            made = arrays(
                {key: self.graph.stages[key].upstream() for key in new},
                lambda key: (self.graph.stages[key].name, self.graph.stages[key].kind, repr(new[key].resources)),
                present,
                self.launcher["array_size"],
            )
            for key, job, log in self.queue.submit(made, new):
                self.jobs[key], self.logs[key] = job, str(log)
                enter_queue(
                    self.store.root,
                    key,
                    {
                        "launcher": self.launcher["name"],
                        "job": job,
                        "submitted": time.time(),
                        "log": self.logs[key],
                        "inputs": self.graph.stages[key].upstream(),
                    },
                )
        old = f"; {len(keys) - len(new)} are in the queue already" if len(new) < len(keys) else ""
        print(f"{len(new)} stages submitted to {self.launcher['name']} in {len(made)} submissions{old}", flush=True)

    def _submitted(self, key: str) -> Submitted:
        stage = self.graph.stages[key]
        redo, processes = redo_of(self.plans[key]), processes_of(stage, self.launcher)
        return Submitted(f"w2s-{stage.slug}", self.folders[key], redo, processes, resources(stage, self.launcher))

    def _look(self) -> None:
        """Take the outcomes and positions of all awaited stages."""
        states = self.queue.states(list(self.jobs.values()))
        for key, job in list(self.jobs.items()):
            if key in self.jobs:  # a failed input takes its readers out
                self._look_at(key, None if states is None else states.get(job, ""))

    def _look_at(self, key: str, state: str | None) -> None:
        """Take the outcome or position of a stage; `state` is its job's: "" if the system has it no more, None if unknown."""
        folder = self.folders[key]
        record, failed = read_record(folder), read_json(folder / "failed.json")
        if record and record.get("run") != redo_of(self.plans[key]):
            self._done(key, record.get("wall_s"))
        elif fits(failed, _Failed) and not is_claimed(folder):
            self._failed(key, failed["message"], user=failed["user"])
        elif state == "" and not is_claimed(folder):
            if time.monotonic() - self.gone.setdefault(key, time.monotonic()) >= (0 if self.stopping else GONE_S):
                self._lost(key)
        elif state is None or state.startswith("RUNNING"):
            self._running(key)

    def _running(self, key: str) -> None:
        """Show the start and the progress of a stage."""
        folder, stage = self.folders[key], self.graph.stages[key]
        if not is_claimed(folder):
            return
        if key not in self.told:
            self.told[key] = None
            self.view(stage, {"event": "started"})
        progress = read_progress(folder)
        if progress and progress != self.told[key]:
            self.told[key] = progress
            self.view(stage, progress)

    def _done(self, key: str, seconds: float | None) -> None:
        del self.jobs[key]
        self.outcome.ran.append(key)
        for reader in outdated(key, self.readers[key], self.plans, self.folders[key]):
            self.outcome.cached.remove(reader)
            self.pending.append(reader)
            if self.pruning:
                self.pruning.reopened(reader)
        if self.pruning:
            self.pruning.finished(key)
        self.view(self.graph.stages[key], {"event": "done"} | ({} if seconds is None else {"seconds": seconds}))

    def _failed(self, key: str, message: str, *, user: bool) -> None:
        del self.jobs[key]
        lost = [one for one in below(key, self.readers) if one in self.jobs]
        self.outcome.fail(key, message, lost, user=user)
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
        how = self.queue.end_of(job)
        message = f"its job {job} ended without a result{f': {how}' if how else ''}; the same command continues from the last checkpoint"
        write_json(
            self.folders[key] / "failed.json",
            {"event": "failed", "message": message, "user": False, "time": time.time()},
        )
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
