"""One stage after another in a worker process: the claim, the check of the job and its inputs, the kind's `run`, the result.

* It reads only stage.json and the results of that file's inputs, so any stage can be replayed by hand.
* The process that does the work has the claim, and reads the record again under the claim: no stage runs twice.
* All stages of a worker share one import. Weights are memory-mapped, so a model of several stages is cheap to open again.
* Several processes may be one worker (`ranks.py`): all of them run the kind's `run` of a stage that can be shared.
"""

import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.pipeline.kinds import find
from w2s_cli.pipeline.provenance import device, fingerprints, provenance
from w2s_cli.run import ranks
from w2s_cli.run.process import output_to
from w2s_cli.run.tracking import Tracking
from w2s_cli.run.workplace import SCRIPT, STOP
from w2s_cli.store import keys, memory
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import claim, reading
from w2s_cli.store.context import Context, Restart, Served, Stopped
from w2s_cli.store.faults import fault
from w2s_cli.store.files import write_json
from w2s_cli.store.places import StoreError, command_line
from w2s_cli.store.position import EVERY_S, PROGRESS, write_progress
from w2s_cli.store.ranks import ALONE, means_lost_process
from w2s_cli.store.shapes import read_job, read_record
from w2s_cli.store.store import NO_ROOM, OLDER, Store, disk_message, is_older


class Runner:
    """The state of a worker: the stop flag, the pipe to the scheduler, its other processes, and the trackers."""

    def __init__(
        self, send: Callable[[dict[str, Any]], None], group: ranks.Group | None = None, *, alone: bool = False
    ) -> None:
        """`alone`: nobody can send it a signal, so it looks for the file `stop`; what it prints is kept in a file."""
        self.send = send
        self.group = group
        self.alone = alone
        self.stopping = False
        self.tracking = Tracking()

    def stop(self, *_: object) -> None:
        """Signal handler: ask the running stage to save and stop."""
        self.stopping = True

    def run(self, folder: Path, *, redo: str | None = None) -> str:
        """Run the stage in `folder`; returns and sends done | cached | busy | failed | stopped | restart.

        `redo` is the run id of a finished result to replace; a result with another run id is left alone.
        """
        told = 0.0  # time of the last progress.json

        def emit(event: dict[str, Any]) -> None:
            nonlocal told
            due = event["event"] == "progress" and time.time() - told >= EVERY_S
            if due:
                told = time.time()
                with suppress(OSError):  # a full disk is told by the stage's own files
                    write_progress(folder, event, told)
            if due or event["event"] != "progress" or not self.alone:
                self.send({"folder": str(folder), **event})

        try:
            with claim(folder) as claimed:
                if not claimed:
                    outcome: dict[str, Any] = {"event": "busy"}
                elif (record := read_record(folder)) and record.get("run") != redo and not publish.damage(folder):
                    outcome = {"event": "cached"}
                else:
                    outcome = self._work(folder, lambda: self._make(folder, read_job(folder), emit))
                    self._note(folder, outcome)
                    for name in (PROGRESS, STOP, SCRIPT):
                        (folder / name).unlink(missing_ok=True)
        except StoreError as error:
            outcome = {"event": "failed", "message": str(error), "user": True}
        except OSError as error:
            outcome = {"event": "failed", "message": disk_message(error, folder), "user": True}
        if outcome["event"] != "told":
            emit(outcome)
        return str(outcome["event"])

    def asked_to_stop(self, folder: Path) -> Callable[[], bool]:
        """Whether a signal asks the stage to stop, or the file `stop`, which is looked for once a second."""
        looked = 0.0

        def asked() -> bool:
            nonlocal looked
            if self.alone and not self.stopping and time.monotonic() - looked >= 1:
                looked = time.monotonic()
                self.stopping = (folder / STOP).exists()
            return self.stopping

        return asked

    def follow(self) -> str:
        """Take part in the stages that rank 0 names, until it ends; returns the last outcome: done, or why this process must end."""
        assert self.group is not None
        for folder, results in self.group.calls():
            with tempfile.TemporaryDirectory() as scratch:
                outcome = self._work(folder, partial(self._serve, folder, results, Path(scratch)))
            with suppress(OSError):  # a full disk: the event tells it
                self._note(folder, outcome)
            if outcome["event"] not in ("done", "told"):
                self.send({"folder": str(folder), **outcome})
            if outcome["event"] != "done":
                return str(outcome["event"])
        return "done"

    def _serve(self, folder: Path, results: dict[str, Path | list[Path]], scratch: Path) -> None:
        """This process's part of a stage; files of a kind that is not `Context.rest_alone` go to the folder `scratch`."""
        job = read_job(folder)
        assert self.group is not None
        assert job is not None  # rank 0 has read it
        ctx = self._context(folder, job, scratch, lambda _: None, self.group)
        with suppress(Served):
            find(job["kind"], ctx.execution.get("folders", ())).run(job["params"], results, ctx)
        self.group.served()

    @property
    def torn(self) -> bool:
        """Whether this process has left a stage that others are in: they end, and so does it."""
        return self.group is not None and self.group.running

    def _note(self, folder: Path, outcome: dict[str, Any]) -> None:
        """Write failed.json, and free the memory, of a stage that failed."""
        if outcome["event"] == "failed":
            memory.give_back()  # an error and its frames, which hold the model, may refer to each other
            write_json(folder / "failed.json", {**outcome, "time": time.time()})

    def _work(self, folder: Path, make: Callable[[], None]) -> dict[str, Any]:
        """The outcome of `make`, the work between claim and record; every error becomes the message of a failed event.

        `starved`: for want of memory, or with other processes in the stage. The scheduler then gives the next stage to a new worker.
        told: another process of this worker has told its own.
        """
        outcome = self._outcome(folder, make)
        if self.group is None or not self.group.failed():
            return outcome
        return {**outcome, "starved": True} if self.group.first_to_tell() else {"event": "told"}

    def _outcome(self, folder: Path, make: Callable[[], None]) -> dict[str, Any]:
        with output_to(folder / "log.txt"):
            try:
                make()
            except Stopped:
                return {"event": "stopped"}
            except Restart:
                return {"event": "restart", "starved": True}
            except (UserError, StoreError) as error:
                print(f"failed: {error}", file=sys.stderr, flush=True)
                starved = error.__cause__ is not None and memory.means_no_memory(error.__cause__)
                return {"event": "failed", "message": str(error), "user": True, "starved": starved}
            except Exception as error:
                if self.torn and means_lost_process(error):
                    ranks.wait_for_the_launcher(asked=self.stopping)
                # a bug or a library's error: the traceback goes to log.txt, one line to the user
                traceback.print_exc()
                if memory.means_no_memory(error):
                    return {"event": "failed", "message": _memory_message(error), "user": True, "starved": True}
                if isinstance(error, OSError):
                    return {"event": "failed", "message": disk_message(error, folder), "user": error.errno in NO_ROOM}
                return {"event": "failed", "message": f"{type(error).__name__}: {error}", "user": False}
            finally:
                self.tracking.end(None)  # of a stage that has not finished
        return {"event": "done"}

    def _make(self, folder: Path, job: dict[str, Any] | None, emit: Callable[[dict[str, Any]], None]) -> None:
        """Check the job and its inputs, run the kind's `run` and publish the result.

        Raises:
            Stopped: the stage was asked to stop, and its state is saved.
            Restart: its state is saved, and it goes on in a new process.
            UserError: the job or an input is missing, damaged or of an older w2s, or the stage itself raises it.
        """
        if job is None:
            raise UserError(f"{folder}/stage.json is missing or unreadable: run its command again.")
        if is_older(folder, job):
            raise UserError(f"{folder} was {OLDER}.")
        ident = keys.identity(job["kind"], job.get("version", 0), job["params"], job["inputs"])
        execution = job.get("execution", {})
        if keys.stage_key(ident) != job["key"] or not folder.name.endswith(job["key"]):
            raise UserError(
                f"{folder}/stage.json was edited: it does not have the key {job['key']}. Remove it: "
                f"{command_line(folder.parents[2], 'rm', job['key'])}"
            )
        store = Store(folder.parents[2])
        kind = find(job["kind"], execution.get("folders", ()))
        memory.give_back_much()  # of the stage before
        started, cpu, unknown_peak = time.time(), _cpu_seconds(), memory.restart_peak()
        record: dict[str, Any] = {
            "run": f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(started))}-{os.getpid()}",
            "key": job["key"],
            "kind": job["kind"],
            "gives": kind.traits.gives,
            "name": job["name"],
            "started": started,
            "code": fingerprints({kind.name: kind.path}, store.cache / "code.json")[kind.name],
            "provenance": provenance(),
        }
        with ExitStack() as locks:
            results: dict[str, Any] = {}
            record["inputs"] = {}
            for edge, keys_of_edge in job["inputs"].items():
                folders = []
                for key in keys_of_edge if isinstance(keys_of_edge, list) else [keys_of_edge]:
                    input_folder = store.folder(key)
                    problems = (
                        ["it is missing"] if input_folder is None else publish.damage(input_folder, cache=store.digests)
                    )
                    if input_folder is None or problems:
                        raise UserError(
                            f"the input {edge} ({input_folder or key}) cannot be used: {'; '.join(problems)}. Run the same command again."
                        )
                    locks.enter_context(reading(input_folder))
                    # from here on the read lock keeps the weights
                    record_of_input = read_record(input_folder) or {}
                    if record_of_input.get("pruned"):
                        raise UserError(
                            f"the weights of the input {edge} ({input_folder}) were removed by another command (keep_weights=false). "
                            "The same command makes them again."
                        )
                    record["inputs"][key] = record_of_input["result"]
                    folders.append(input_folder / "result")
                results[edge] = folders if isinstance(keys_of_edge, list) else folders[0]
            fault(f"{job['kind']}.claimed")
            if not (folder / "record.json").exists() and publish.adopt(folder, {**record, "ended": time.time()}):
                return
            (folder / "failed.json").unlink(missing_ok=True)
            shutil.rmtree(folder / "result.tmp", ignore_errors=True)
            (folder / "result.tmp").mkdir()
            (folder / "work").mkdir(exist_ok=True)
            if self.stopping:
                raise Stopped
            emit({"event": "started"})
            self.tracking.begin(folder, job, kind.traits, emit)
            group = self.group if kind.traits.shared else None
            if group is not None:
                group.call(folder, results)
            ctx = self._context(folder, job, folder / "result.tmp", emit, group)
            metrics = kind.run(job["params"], results, ctx)
            if group is not None:
                group.served()
            ended = time.time()
            record |= {"ended": ended, "wall_s": round(ended - started, 3), "cpu_s": round(_cpu_seconds() - cpu, 3)}
            record |= {"execution": ctx.execution, "measured": ctx.measured}
            record["provenance"] |= device()
            peak = memory.peak_above(unknown_peak)
            record |= {} if peak is None else {"peak_memory_mib": peak}
            publish.publish(folder, metrics, record)
            self.tracking.end(metrics)

    def _context(
        self,
        folder: Path,
        job: dict[str, Any],
        result: Path,
        emit: Callable[[dict[str, Any]], None],
        group: ranks.Group | None,
    ) -> Context:
        """The context of this process; `group`: the processes that share the stage."""
        execution = job.get("execution", {})
        return Context(
            folder=folder,
            work=folder / "work",
            result=result,
            execution=group.execution(execution) if group else execution,
            emit=emit,
            stop_requested=self.asked_to_stop(folder),
            track=self.tracking.figures,
            cache=Store(folder.parents[2]).cache,
            ranks=group.ranks if group else ALONE,
        )


def _memory_message(error: Exception) -> str:
    most = memory.most_bytes()
    have = "" if most is None else f" This process may have {most / (1 << 30):.2f} GiB."
    return (
        f"not enough memory ({' '.join(str(error).split())[:200] or type(error).__name__}).{have} "
        "What can help: a smaller model, a smaller max_length, or more memory"
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
