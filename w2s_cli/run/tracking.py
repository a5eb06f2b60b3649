"""The worker's side of trackers: each tracker is a process of its own, which serves all stages of the worker.

* A training never waits for a tracker: figures go to a buffer, and from there to the process whenever it reads. Only the end of a stage
  waits, at most `END_S`.
* A tracker that fails, dies, reads nothing or does not end is left out: one line in the stage's log and one event. After a failure the
  next stage tries again; one that hangs is not started again by this worker.
* Tracked are trainings, comparisons, and every stage that records a figure. A finished stage is never tracked again.
* What a worker has to know is in stage.json (`execution.tracker`), beside the identity.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2s_cli.pipeline.contract import Traits
from w2s_cli.pipeline.graph import Graph
from w2s_cli.store.places import StoreError, owned

FOLDER = "trackers"  # in the outputs folder
END_S = 60.0  # a stage waits so long for its trackers to end
LARGEST = 1 << 26  # bytes that wait for a tracker; one that lets more come together does not read
LONGEST = 250  # characters of a setting's value
ABOUT = ("role", "model", "data", "rows", "labels", "loss", "seed")  # facts of a plan that describe a run


def with_trackers(graph: Graph, names: Sequence[str], group: str) -> None:
    """Note in the stages of a graph what their trackers need; `group` is the name of the run's folder."""
    for key, stage in graph.stages.items():
        methods = sorted({job.config["method"]["name"] for job in graph.jobs if key in job.names.values()})
        facts = {name: stage.about[name] for name in ABOUT if isinstance(stage.about.get(name), str | int)}
        tracker = {"names": list(dict.fromkeys(names)), "group": group, "methods": methods, "about": facts}
        graph.stages[key] = replace(stage, execution={**stage.execution, "tracker": tracker})


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all values of a nested mapping."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def settings(job: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a stage and the facts of its plan, with dotted names; lists as JSON."""
    identity = {
        name: value if value is None or isinstance(value, bool | int | float) else _text(value)
        for name, value in flat(job["params"])
    }
    return {**identity, **job["execution"]["tracker"]["about"], "kind": job["kind"], "stage": job["name"]}


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST]


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the metrics of a result, with dotted names. Lists, such as intervals, are left out."""
    values = {name.removesuffix(".value"): value for name, value in flat(metrics) if type(value) in (int, float)}
    return {name: value for name, value in values.items() if abs(value) <= sys.float_info.max}  # false for NaN


class _Process:
    """The process of one tracker, with pipes that never block."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "w2s_cli.run.tracker_process", name]
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)  # Ctrl-C is not for it
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.jobs, self.answers = self.popen.stdin.fileno(), self.popen.stdout.fileno()
        for descriptor in (self.jobs, self.answers):
            os.set_blocking(descriptor, False)
        self.waiting, self.read = bytearray(), b""

    def send(self, job: Mapping[str, Any]) -> None:
        """Add a job, and write as much as the process takes now."""
        self.waiting += (json.dumps(job) + "\n").encode()
        self.write()

    def write(self) -> None:
        """Write as much as the process takes now."""
        with suppress(BlockingIOError, BrokenPipeError):  # the end of its answers says that it has ended
            while self.waiting:
                del self.waiting[: os.write(self.jobs, memoryview(self.waiting)[: 1 << 16].tobytes())]

    def receive(self) -> list[dict[str, Any]]:
        """The answers since the last call; the death of the process is one more: {"failed": …}."""
        chunks, ended = [self.read], False
        with suppress(BlockingIOError):
            while chunk := os.read(self.answers, 1 << 16):
                chunks.append(chunk)
            ended = True
        *lines, self.read = b"".join(chunks).split(b"\n")
        answers: list[dict[str, Any]] = [json.loads(line) for line in lines]
        if ended and not any("failed" in answer for answer in answers):
            answers.append({"failed": f"its process ended with code {self.popen.wait()}"})
        return answers

    def wait(self, seconds: float) -> None:
        """Wait until the process answers, or takes more."""
        select.select([self.answers], [self.jobs] if self.waiting else [], [], max(0.0, seconds))

    def close(self) -> None:
        """Close the pipes: the process ends by itself, and at the latest after its own limit."""
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()


class Tracking:
    """The trackers of a worker, and the stage that they show."""

    def __init__(self) -> None:
        self.processes: dict[str, _Process] = {}
        self.hung: set[str] = set()
        self.names: list[str] = []  # of the trackers that have started with this stage and work
        self.job: dict[str, Any] | None = None  # of a stage that is not shown yet
        self.emit: Callable[[dict[str, Any]], None] = lambda event: None

    def begin(
        self, folder: Path, job: Mapping[str, Any], traits: Traits, emit: Callable[[dict[str, Any]], None]
    ) -> None:
        """Begin with a stage, as stage.json describes it."""
        self.names, self.job, self.emit = [], None, emit
        chosen = job.get("execution", {}).get("tracker")
        if not chosen:
            return
        made = len(list((folder / "old").glob("*"))) + (folder / "record.json").exists()  # results before this one
        stage = {
            "id": job["key"] if not made else f"{job['key']}-{made + 1}",
            "name": folder.name if not made else f"{folder.name}-{made + 1}",
            "kind": job["kind"],
            "group": chosen["group"],
            "tags": [job["kind"], *filter(None, [chosen["about"].get("role")]), *chosen["methods"]],
            "config": settings(job),
        }
        self.job = {
            "names": chosen["names"],
            "start": {"stage": stage, "folders": job["execution"].get("folders", []), "log": str(folder / "log.txt")},
            "root": folder.parents[2],
        }
        if traits.trains or traits.gives == "comparison":
            self._start()

    def _start(self) -> None:
        """Show the stage in every tracker."""
        assert self.job is not None
        job, self.job = self.job, None
        for name in [name for name in job["names"] if name not in self.hung]:
            try:
                folder = owned(job["root"] / FOLDER / name, job["root"])
                process = self.processes.get(name)
                if process is None or process.popen.poll() is not None:
                    process = _Process(name)
            except (OSError, StoreError) as error:
                self._tell(f"tracker {name}: fault", f"tracker {name} cannot start: {error}")
                continue
            self.processes[name] = process
            self.names.append(name)
            process.send({"start": {**job["start"], "folder": str(folder)}})

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Show a line of metrics.jsonl, {"step": 10, "loss": 0.4}."""
        if self.job:
            self._start()
        for name in list(self.names):
            process = self.processes[name]
            process.send({"figures": numbers(figures)})
            self._hear(name)
            if len(process.waiting) > LARGEST:
                self._give_up(name, "takes no more figures")

    def end(self, metrics: Mapping[str, Any] | None) -> None:
        """End the stage in every tracker, with its final metrics; None: it has not finished. A second call does nothing."""
        self.job = None
        for name in self.names:
            self.processes[name].send({"end": None if metrics is None else numbers(metrics)})
        until = time.monotonic() + END_S
        while self.names:
            name = self.names[0]
            self.processes[name].write()
            self._hear(name)
            if name not in self.names:
                continue
            if (left := until - time.monotonic()) <= 0:
                self._give_up(name, f"has not ended within {END_S:g} s")
            else:
                self.processes[name].wait(left)

    def _hear(self, name: str) -> None:
        """Take a tracker's answers."""
        for answer in self.processes[name].receive():
            if "tell" in answer:
                self._tell(f"tracker {name}", answer["tell"])
            elif "ended" in answer:
                self.names.remove(name)
            else:
                self._leave(name, f"tracker {name} failed, and shows no more of this stage: {answer['failed']}")

    def _give_up(self, name: str, why: str) -> None:
        """Leave out a tracker that hangs, for this stage and all further ones of the worker."""
        self.hung.add(name)
        self._leave(name, f"tracker {name} {why}: this worker goes on without it")

    def _leave(self, name: str, why: str) -> None:
        self.names.remove(name)
        self.processes.pop(name).close()
        self._tell(f"tracker {name}: fault", why)

    def _tell(self, about: str, text: str) -> None:
        """A line in the stage's log, which the worker's standard error is, and an event; the user sees one of each `about`."""
        print(text, file=sys.stderr, flush=True)
        self.emit({"event": "notice", "text": text, "about": about})
