"""The scheduler of a graph's stages: inputs first, side by side where the machine has room (`sharing.py`), each stage once.

* The scheduler decides only the order. The worker has the claim, does the work and writes the record.
* A worker process runs many stages with one import; with `isolate` each stage has its own worker. The launcher starts the workers
  (`launchers/`).
* A stage that another command is running goes back to the queue and is tried again later; other stages run meanwhile.
* A stage that asks for a new process (`store.context.Restart`) goes on in a new worker.
* A failed stage blocks only the stages that depend on it, and is not retried in this command. The death of a worker fails its stage.
* A stage without an event for minutes is named, with its log; it is not ended, because loading and compiling may take as long.
* A signal of `signals.py`, to the command or to one of its workers: running stages save and stop. At the second Ctrl-C or SIGTERM of the
  command the workers are killed.
"""

import selectors
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from w2s_cli.run import launchers, signals
from w2s_cli.run.launchers import Worker
from w2s_cli.run.order import Pending
from w2s_cli.run.outcome import Outcome
from w2s_cli.run.preparing import prepare, redo_of
from w2s_cli.run.sharing import Sharing
from w2s_cli.run.work import Work
from w2s_cli.store.memory import means_no_memory
from w2s_cli.store.publishing import write_failed

BUSY_WAIT_S = 0.5
SILENT_S = 300.0  # without an event of a stage, after which the view says so, and again after as long


class Scheduler:
    """State of one run over a graph."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.graph = work.graph
        self.launcher = work.launcher
        self.view = work.view
        self.outcome = work.outcome
        self.sharing = Sharing(work.graph, work.plans, work.launcher)
        self.pending = Pending(work.upstream, work.to_run)
        self.not_before: dict[str, float] = {}
        self.workers: list[Worker] = []
        self.selector = selectors.DefaultSelector()
        self.folders: dict[str, Path] = {}
        self.advice: dict[str, str] = {}  # stage → what helps if the kernel kills its worker for want of memory
        self.heard: dict[str, float] = {}  # running stage → time of its last event
        self.stopping = False  # a signal asked for it
        self.noticed: set[str] = set()  # whose notices the user has seen

    def run(self) -> Outcome:
        """Run all stages to run; returns when they are done, failed or stopped."""
        with self._signals():
            try:
                while (len(self.pending) and not self.stopping) or any(w.key for w in self.workers):
                    self._dispatch()
                    self._listen(timeout=0.1)
                    self._watch()
                self.outcome.stopped = self.outcome.stopped or (self.stopping and len(self.pending) > 0)
            finally:
                for worker in list(self.workers):
                    self._end(worker)
        return self.outcome

    def _prepare(self, key: str) -> bool:
        """Write the stage's folder, with a GPU for the stage if it needs one; False if none is free."""
        need = self.sharing.needs[key]
        chosen: dict[str, Any] = {"threads": need.threads, "processes": need.processes, "cores": self.sharing.cores}
        if need.device:
            assert self.sharing.devices is not None
            taken = self.sharing.devices.take(key, need.processes)
            if taken is None:
                return False
            chosen |= {"device": taken[0], "devices": taken}
        self.folders[key] = prepare(self.graph.stages[key], self.work.store, self.launcher, **chosen)
        return True

    def _dispatch(self) -> None:
        """Give ready stages to free workers."""
        if self.stopping:
            return
        for key in self.pending.ready():
            if time.monotonic() < self.not_before.get(key, 0.0):
                continue
            if not self.sharing.room(key, [w.key for w in self.workers if w.key]):
                continue
            if not self._prepare(key):
                continue
            count = self.sharing.needs[key].processes
            free = (worker for worker in self.workers if worker.key is None and worker.processes == count)
            worker = next(free, None) or self._start(count)
            if self.stopping:  # a signal while the worker started, which no worker was told of
                return
            self.pending.start(key)
            self.heard[key] = time.monotonic()
            worker.give(key, self.folders[key], redo_of(self.work.plans[key]))

    def _over(self, key: str) -> None:
        """The stage has ended, or waits again: its GPU is free."""
        if self.sharing.devices is not None:
            self.sharing.devices.give_back(key)

    def _start(self, processes: int) -> Worker:
        worker: Worker = launchers.find(self.launcher["name"]).start(self.launcher, processes)
        self.workers.append(worker)
        self.selector.register(worker, selectors.EVENT_READ)
        return worker

    def _listen(self, *, timeout: float) -> None:
        """Handle the events and the deaths of workers."""
        if not self.workers:
            time.sleep(timeout)
            return
        for ready, _ in self.selector.select(timeout):
            worker: Worker = ready.fileobj  # type: ignore[assignment] # as registered
            events = worker.events()
            if events is None:
                self._died(worker)
            for event in events or ():
                self._event(worker, event)

    def _watch(self) -> None:
        """Take what the folders of stages tell, and say which stage shows no progress: it may hang, in a loss that never returns."""
        for worker in self.workers:
            for event in worker.look() if worker.key else ():
                self._event(worker, event)
        for key in [worker.key for worker in self.workers if worker.key]:
            silent = time.monotonic() - self.heard.get(key, time.monotonic())
            if silent >= SILENT_S:
                self.heard[key] = time.monotonic()
                log = self.folders[key] / "log.txt"
                self.view(self.graph.stages[key], {"event": "silent", "seconds": silent, "log": str(log)})

    def _event(self, worker: Worker, event: dict[str, Any]) -> None:
        key = worker.key
        if key is None:
            return
        self.heard[key] = time.monotonic()
        kind = event["event"]
        if kind in ("started", "progress"):
            self.view(self.graph.stages[key], event)
            return
        if kind == "notice":
            if event["about"] not in self.noticed:  # the same of the next stage says nothing new
                self.noticed.add(event["about"])
                self.view(self.graph.stages[key], event)
            return
        if kind == "advice":
            self.advice[key] = event["text"]
            return
        worker.key = None
        self._over(key)
        if kind in ("busy", "restart"):
            self.not_before[key] = time.monotonic() + (BUSY_WAIT_S if kind == "busy" else 0)
            self.pending.again(key)
        elif kind == "failed":
            self._failed(key, event["message"], user=event["user"])
        elif kind == "stopped":  # without a signal of our own: a batch system stops the workers
            self.outcome.stopped = True
            self._stop(now=False)
        else:
            for reader in self.work.made(key, self.folders[key], cached=kind == "cached"):
                self.pending.again(reader)
            self.pending.made(key)
        self.view(self.graph.stages[key], event)
        # starved: what a library keeps after a lack of memory is unknown
        if worker.single or self.launcher["isolate"] or event.get("starved"):
            self._end(worker)

    def _died(self, worker: Worker) -> None:
        """Handle the death of a worker: its stage failed, unless the command is stopping."""
        self._forget(worker)
        code, key = worker.code(), worker.key
        if key is None:
            return
        self._over(key)
        if self.stopping:
            self.outcome.stopped = True
            return
        message = self._cause_of_death(key, code, worker.words)
        write_failed(self.folders[key], message)
        self._failed(key, message, user=False)
        self.view(self.graph.stages[key], {"event": "failed", "message": message})

    def _cause_of_death(self, key: str, code: int, words: str) -> str:
        """The message for a stage whose worker ended with `code`, −n: by signal n, after it printed `words`."""
        if words:
            return f"its worker ended with code {code} and left no result. It printed: {words}"
        starved = code == -signal.SIGKILL or means_no_memory(_end_of_log(self.folders[key]))
        if code >= 0 and not starved:
            return f"its worker ended with code {code}: the stage ended the process. Code of your own (a loss, a grader) must not call exit"
        cause = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        advice = self.advice.get(key, "a smaller model, or more memory")
        hint = f" (out of memory? What can help: {advice})" if starved else ""
        return f"its worker {cause}{hint}; the same command continues from the last checkpoint"

    def _failed(self, key: str, message: str, *, user: bool) -> None:
        """Record a failure; the stages that depend on it do not run."""
        for one in self.work.failed(key, message, self.pending, user=user):
            self.pending.remove(one)

    def _stop(self, *, now: bool) -> None:
        """Start no further stage, and ask the workers to save and stop; with `now`, kill them."""
        self.stopping = True
        for worker in self.workers:
            worker.stop(now=now)

    def _end(self, worker: Worker) -> None:
        """End a worker without a stage."""
        self._forget(worker)
        worker.end()

    def _forget(self, worker: Worker) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
            self.selector.unregister(worker)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ask the workers to save and stop at the first signal; kill them at the second that insists."""
        insisting = 0

        def stop(number: int, _: object) -> None:
            nonlocal insisting
            insisting += number in signals.INSISTING
            self._stop(now=insisting > 1)

        old_handlers = signals.handle(stop)
        try:
            yield
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)


def _end_of_log(folder: Path) -> str:
    """The last words of a stage's log: of C++, for instance, before it aborts."""
    try:
        return (folder / "log.txt").read_bytes()[-2000:].decode(errors="replace")
    except OSError:
        return ""
