"""The process that runs stages: `python -m w2s_cli.run.worker [--wait] [--redo RUN] STAGE_DIR…`

* It reads only stage.json and the results of that file's inputs, so any stage can be replayed by hand.
* The process that does the work has the claim, and reads the record again under the claim: no stage runs twice.
* All stages of a worker share one import. Weights are memory-mapped, so a model of several stages is cheap to open again.
* Freed memory is kept for the next micro-batch (`keep_memory`): its return to the kernel took a third of a narrow model's forward pass.
* Without a scheduler (`--wait`: as a job of a cluster) it waits while another process has the stage, and begins again in a new process
  where a stage asks for one. A file `stop` in the stage's folder asks it to save and stop, because no signal crosses machines.
* With --serve it reads jobs from standard input, one JSON object {"folder", "redo"} per line, and dies with its parent. Events go to
  standard output as JSON lines; the output of libraries goes to the stage's log.
* A signal of `signals.py`: the running stage saves its state and stops, and so does every later one. The parent handles Ctrl-C.
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.pipeline.kinds import find
from w2s_cli.pipeline.provenance import device, fingerprints, provenance
from w2s_cli.run import signals
from w2s_cli.run.workplace import SCRIPT, STOP, WORKER
from w2s_cli.store import keys, memory
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import claim, reading
from w2s_cli.store.context import Context, Restart, Stopped
from w2s_cli.store.faults import fault
from w2s_cli.store.files import write_json
from w2s_cli.store.places import StoreError, command_line
from w2s_cli.store.position import EVERY_S, PROGRESS, write_progress
from w2s_cli.store.shapes import read_job, read_record
from w2s_cli.store.store import NO_ROOM, OLDER, Store, disk_message, is_older

EXIT_STOPPED = 75
BUSY_WAIT_S = 2.0
# garbage collection took 0.5 of the 2.7 CPU seconds of the import of torch and transformers
RARELY = (100_000, 50, 100)
KEPT = 1 << 30  # bytes of freed memory that a worker keeps
LARGE = 1 << 25  # bytes of an array that is returned to the kernel at once; the largest limit of every glibc


class Worker:
    """A runner of stages, one after another; its state is the stop flag and the pipe to the scheduler."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.send = send
        self.stopping = False
        self.alone = False  # nobody can send it a signal: it looks for the file `stop`

    def stop(self, *_: object) -> None:
        """Signal handler: ask the running stage to save and stop."""
        self.stopping = True

    def _asked_to_stop(self, folder: Path) -> Callable[[], bool]:
        """Whether a signal or the file `stop` asks for it; the file is looked for once a second."""
        looked = 0.0

        def asked() -> bool:
            nonlocal looked
            if not self.stopping and time.monotonic() - looked >= 1:
                looked = time.monotonic()
                self.stopping = (folder / STOP).exists()
            return self.stopping

        return asked

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
            if due or event["event"] != "progress" or not self.alone:  # a job's output is kept in a file
                self.send({"folder": str(folder), **event})

        try:
            with claim(folder) as claimed:
                if not claimed:
                    outcome: dict[str, Any] = {"event": "busy"}
                elif (record := read_record(folder)) and record.get("run") != redo and not publish.damage(folder):
                    outcome = {"event": "cached"}
                else:
                    outcome = self._work(folder, read_job(folder), emit)
                    for name in (PROGRESS, STOP, SCRIPT):
                        (folder / name).unlink(missing_ok=True)
                    if outcome["event"] == "failed":
                        memory.give_back()  # an error and its frames, which hold the model, may refer to each other
                        write_json(folder / "failed.json", {**outcome, "time": time.time()})
        except StoreError as error:
            outcome = {"event": "failed", "message": str(error), "user": True}
        except OSError as error:
            outcome = {"event": "failed", "message": disk_message(error, folder), "user": True}
        emit(outcome)
        return str(outcome["event"])

    def _work(self, folder: Path, job: dict[str, Any] | None, emit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """The work between claim and record; every error becomes the message of a failed event.

        `starved`: for want of memory. The scheduler then gives the next stage to a new worker.
        """
        with _output_to(folder / "log.txt"):
            try:
                self._make(folder, job, emit)
            except Stopped:
                return {"event": "stopped"}
            except Restart:
                return {"event": "restart", "starved": True}
            except (UserError, StoreError) as error:
                print(f"failed: {error}", file=sys.stderr, flush=True)
                starved = error.__cause__ is not None and memory.means_no_memory(error.__cause__)
                return {"event": "failed", "message": str(error), "user": True, "starved": starved}
            except Exception as error:
                # a bug or a library's error: the traceback goes to log.txt, one line to the user
                traceback.print_exc()
                if memory.means_no_memory(error):
                    return {"event": "failed", "message": _memory_message(error), "user": True, "starved": True}
                if isinstance(error, OSError):
                    return {"event": "failed", "message": disk_message(error, folder), "user": error.errno in NO_ROOM}
                return {"event": "failed", "message": f"{type(error).__name__}: {error}", "user": False}
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
            ctx = Context(
                folder=folder,
                work=folder / "work",
                result=folder / "result.tmp",
                execution=execution,
                emit=emit,
                stop_requested=self._asked_to_stop(folder) if self.alone else lambda: self.stopping,
                cache=store.cache,
            )
            if self.stopping:
                raise Stopped
            emit({"event": "started"})
            metrics = kind.run(job["params"], results, ctx)
            ended = time.time()
            record |= {"ended": ended, "wall_s": round(ended - started, 3), "cpu_s": round(_cpu_seconds() - cpu, 3)}
            record |= {"execution": execution, "measured": ctx.measured}
            record["provenance"] |= device()
            peak = memory.peak_above(unknown_peak)
            record |= {} if peak is None else {"peak_memory_mib": peak}
            publish.publish(folder, metrics, record)


class _output_to:  # noqa: N801 - used like a function
    """Redirection of file descriptors 1 and 2 to the stage's log, so that the output of native libraries goes there too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.saved = (os.dup(1), os.dup(2))
        log = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in enumerate(self.saved, start=1):
            os.dup2(saved, descriptor)
            os.close(saved)


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


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (Linux; elsewhere the end of standard input ends it)."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            os._exit(1)


def keep_memory() -> None:
    """Let the allocator keep up to `KEPT` freed bytes, and collect garbage rarely, for the rest of this process.

    Activations are some megabytes each and are freed after every layer. glibc returns such memory to the kernel, which
    zeroes it page by page at the next request. Another C library than glibc is not changed.
    """
    gc.set_threshold(*RARELY)
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with suppress(AttributeError, OSError, TypeError):  # a C library without mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, KEPT)
        mallopt(mmap_threshold, LARGE)


def main(argv: list[str]) -> int:
    """Entry point of the process."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)

    def send(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")

    worker = Worker(send)
    keep_memory()
    signals.handle(worker.stop)
    if argv[:1] == ["--serve"]:
        die_with_parent(int(argv[1]))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
        for line in sys.stdin:
            job = json.loads(line)
            worker.run(Path(job["folder"]), redo=job["redo"])
        return 0
    return _alone(worker, argv)


def _alone(worker: Worker, argv: list[str]) -> int:
    """Run the stages of a command line, one after another; returns the exit code."""
    parser = argparse.ArgumentParser(prog="worker")
    parser.add_argument("--wait", action="store_true", help="wait while another process has the stage")
    parser.add_argument("--redo", help="run id of a finished result to replace")
    parser.add_argument("folders", nargs="+", type=lambda word: Path(word).absolute())
    options = parser.parse_args(argv)
    worker.alone = options.wait
    outcomes = []
    for folder in options.folders:
        outcome = worker.run(folder, redo=options.redo)
        while outcome == "busy" and options.wait and not worker.stopping and not (folder / STOP).exists():
            time.sleep(BUSY_WAIT_S)
            outcome = worker.run(folder, redo=options.redo)
        if outcome == "restart" and options.wait:
            sys.stdout.flush()
            os.execv(sys.executable, [sys.executable, "-m", WORKER, *argv])
        outcomes.append(outcome)
        if outcome in ("failed", "stopped", "restart"):
            break
    if "stopped" in outcomes or (options.wait and "busy" in outcomes):
        return EXIT_STOPPED
    return int(any(outcome in ("failed", "busy", "restart") for outcome in outcomes))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    signals.ignore()
    gc.freeze()  # else the interpreter's last collections go through all of torch and transformers: a CPU second
    sys.exit(code)
