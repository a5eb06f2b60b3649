"""The process that runs stages: `python -m w2s_cli.run.worker STAGE_DIR…`

* It reads only stage.json and the results of the inputs it names; any stage can be replayed by hand.
* The claim is held here, by the process that does the work, and the record is looked at again under it: nothing runs twice.
* One import for all stages it is given. Weights are memory-mapped, so a model that several stages share is cheap to open again.
* Freed memory is kept for the next micro-batch (`keep_memory`): to ask for it again took a third of a narrow model's forward pass.
* With --serve it takes jobs from standard input, one JSON object {"folder", "redo"} a line, and dies with its parent. Events go to
  standard output as JSON lines; whatever libraries print goes to the stage's log.
* First SIGTERM (or SIGUSR2): the running stage saves its state and stops. The parent handles Ctrl-C.
"""

import ctypes
import errno
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
from w2s_cli.pipeline.provenance import fingerprints, provenance
from w2s_cli.store import keys
from w2s_cli.store import publishing as publish
from w2s_cli.store.claims import claim, reading
from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.store import OLDER, Store, is_older

EXIT_STOPPED = 75
RARELY = (100_000, 50, 100)  # collections of garbage took 0.5 of the 2.7 CPU s of importing torch and transformers
KEPT = 1 << 30  # bytes of freed memory that a worker keeps
LARGE = 1 << 25  # bytes of one array that is given back at once; the largest limit that every glibc takes


class Worker:
    """Runs one stage after another; state: the stop flag and the pipe to the scheduler."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.send = send
        self.stopping = False

    def stop(self, *_: object) -> None:
        """Signal handler: ask the running stage to save and stop."""
        self.stopping = True

    def run(self, folder: Path, *, redo: str | None = None) -> str:
        """Run the stage in `folder`; returns and sends done | cached | busy | failed | stopped.

        `redo` is the run id of a finished result that is to be replaced; whoever finds another one there leaves it.
        """

        def emit(event: dict[str, Any]) -> None:
            self.send({"folder": str(folder), **event})

        try:
            with claim(folder) as mine:
                if not mine:
                    outcome: dict[str, Any] = {"event": "busy"}
                elif (
                    (record := read_json(folder / "record.json"))
                    and record["run"] != redo
                    and not publish.damage(folder)
                ):
                    outcome = {"event": "cached"}
                else:
                    outcome = self._work(folder, read_json(folder / "stage.json"), emit)
                    if outcome["event"] == "failed":
                        write_json(folder / "failed.json", {**outcome, "time": time.time()})
        except OSError as error:
            outcome = {"event": "failed", "message": _disk_message(error, folder), "user": True}
        emit(outcome)
        return str(outcome["event"])

    def _work(self, folder: Path, job: dict[str, Any] | None, emit: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Everything between claim and record, with each way to fail turned into a message."""
        with _output_to(folder / "log.txt"):
            try:
                self._make(folder, job, emit)
            except Stopped:
                return {"event": "stopped"}
            except UserError as error:
                print(f"failed: {error}", file=sys.stderr, flush=True)
                return {"event": "failed", "message": str(error), "user": True}
            except OSError as error:
                traceback.print_exc()
                return {"event": "failed", "message": _disk_message(error, folder), "user": error.errno == errno.ENOSPC}
            except (
                Exception
            ) as error:  # a bug or a library's error: the traceback is in log.txt, the line goes to the user
                traceback.print_exc()
                return {"event": "failed", "message": f"{type(error).__name__}: {error}", "user": False}
        return {"event": "done"}

    def _make(self, folder: Path, job: dict[str, Any] | None, emit: Callable[[dict[str, Any]], None]) -> None:
        if job is None:
            raise UserError(f"{folder}/stage.json is missing or cut short: run the command that made it again.")
        if is_older(folder, job):
            raise UserError(f"{folder} was {OLDER}.")
        ident = keys.identity(job["kind"], job["version"], job["params"], job["inputs"])
        if keys.stage_key(ident) != job["key"] or not folder.name.endswith(job["key"]):
            raise UserError(
                f"{folder}/stage.json was edited: it does not have the key {job['key']}. Remove it: w2s rm {job['key']}"
            )
        store = Store(folder.parents[2])
        kind = find(job["kind"], job["execution"].get("folders", ()))
        started, cpu = time.time(), _cpu_seconds()
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
            for edge, named in job["inputs"].items():
                found = []
                for key in named if isinstance(named, list) else [named]:
                    above = store.folder(key)
                    problems = ["it is not there"] if above is None else publish.damage(above, cache=store.digests)
                    if above is None or problems:
                        raise UserError(
                            f"the input {edge} ({above or key}) cannot be used: {'; '.join(problems)}. Run w2s train again."
                        )
                    locks.enter_context(reading(above))
                    if read_json(above / "record.json").get("pruned"):  # no longer, once it is being read
                        raise UserError(
                            f"the input {edge} ({above}) has lost its weights to another command (keep_weights=false). "
                            "Run w2s train again: it makes them again."
                        )
                    record["inputs"][key] = keys_digest(above)
                    found.append(above / "result")
                results[edge] = found if isinstance(named, list) else found[0]
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
                execution=job["execution"],
                emit=emit,
                stop_requested=lambda: self.stopping,
                cache=store.cache,
            )
            if self.stopping:
                raise Stopped
            emit({"event": "started"})
            metrics = kind.run(job["params"], results, ctx)
            ended = time.time()
            record |= {"ended": ended, "wall_s": round(ended - started, 3), "cpu_s": round(_cpu_seconds() - cpu, 3)}
            record |= {"execution": job["execution"], "measured": ctx.measured}
            record["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            publish.publish(folder, metrics, record)


def keys_digest(folder: Path) -> str:
    """The digest of a finished stage's result."""
    return str(read_json(folder / "record.json")["result"])


class _output_to:  # noqa: N801 - reads as a context manager
    """Send file descriptors 1 and 2 to the stage's log, below Python, so that native libraries are caught too."""

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


def _disk_message(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left on device for {folder}. Free some (w2s gc shows what can go), then run the same command: it continues."
    return f"{error.strerror or error}: {error.filename or folder}"


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere end of standard input ends it)."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def keep_memory() -> None:
    """Have the allocator keep up to `KEPT` freed bytes and collect garbage rarely, for this process from now on.

    Activations are some megabytes each and are freed after every layer. glibc gives such memory back to the kernel, which zeroes it
    page by page when it is asked for again. Another C library than glibc is left as it is.
    """
    gc.set_threshold(*RARELY)
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with suppress(AttributeError, OSError, TypeError):  # no mallopt here
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
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, worker.stop)
    if argv[:1] == ["--serve"]:
        die_with_parent(int(argv[1]))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
        for line in sys.stdin:
            job = json.loads(line)
            worker.run(Path(job["folder"]), redo=job["redo"])
            if worker.stopping:
                break
        return 0
    signal.signal(signal.SIGINT, worker.stop)
    outcomes = []
    for word in argv:
        outcomes.append(worker.run(Path(word).absolute()))
        if outcomes[-1] in ("failed", "stopped"):
            break
    return EXIT_STOPPED if "stopped" in outcomes else int(any(o in ("failed", "busy") for o in outcomes))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    gc.freeze()  # else the interpreter's last collections go through all of torch and transformers: a CPU second
    sys.exit(code)
