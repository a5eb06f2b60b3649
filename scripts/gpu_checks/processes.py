"""Each check in a process of its own with a time limit: a crash, a kill or a full card ends that check alone, and frees its memory.

* A process is a copy of a server that has imported torch and transformers and has not touched the GPU (multiprocessing's fork server):
  the import is paid once. Where a copy cannot use the GPU, a first trial shows it, and each check is a fresh process (`spawn`).
* A process leads a group of its own, so that its end takes along the processes that it has started.
* What a check prints, and its traceback, is in its log; the answer is a file, so a killed check loses nothing of the others.
* `W2S_FAULT=gpu_check.NAME` kills the process of a check, `…=gpu_check.NAME=nomemory` lets its memory fail (`w2s_cli/store/faults.py`):
  for the test.
"""

import importlib
import json
import math
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripts.gpu_checks.settings import NotHere, Settings

PRELOADED = ["scripts.gpu_checks.preloaded"]
LAST_LINES = 25  # of a log
OURS = ("w2s_cli", "scripts")
DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@dataclass(frozen=True)
class Answer:
    """What became of a check's process."""

    state: str  # DONE, FAILED or SKIPPED
    why: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""  # the end of it, of a check that failed


def run_check(name: str, shape: str, settings: Settings, limit_s: float) -> Answer:
    """The check `name` on a shape; what has not ended after `limit_s` seconds is killed."""
    return _in_process(f"{name}-{shape}", _records, (name, shape, settings), settings, limit_s)


def describe(settings: Settings, limit_s: float) -> Answer:
    """The machine, as one record, by the first process that uses the device."""
    return _in_process("machine", _machine, (settings,), settings, limit_s)


def _records(name: str, shape: str, settings: Settings) -> list[dict[str, Any]]:
    from w2s_cli.store.faults import fault

    fault(f"gpu_check.{name}")
    check = importlib.import_module(f"scripts.gpu_checks.checks.{name}")
    return [finite(asdict(one)) for one in check.run(settings, shape)]


def _machine(settings: Settings) -> list[dict[str, Any]]:
    from scripts.gpu_checks import machine

    return [machine.describe(settings)]


def finite(record: dict[str, Any]) -> dict[str, Any]:
    """The record with null for a number that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
    }


def _in_process(
    name: str, work: Callable[..., list[dict[str, Any]]], args: tuple[Any, ...], settings: Settings, limit_s: float
) -> Answer:
    answer, log = settings.work / f"{name}.json", settings.work / f"{name}.log"
    context: Any = multiprocessing.get_context(settings.start)
    if settings.start == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_child, args=(work, args, answer, log))
    process.start()
    try:
        process.join(limit_s)
    finally:  # also where this command is stopped
        late = process.is_alive()
        if late:
            process.kill()
        with suppress(ProcessLookupError, PermissionError):  # its own processes too
            os.killpg(process.pid, signal.SIGKILL)
    process.join()
    end = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:]) if log.exists() else ""
    if late:
        return Answer(FAILED, f"not done after {limit_s:.0f} s, and killed", log=end)
    if not answer.exists():
        code = process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with {code}"
        return Answer(FAILED, f"its process was {how}" if code and code < 0 else f"its process {how}", log=end)
    reply = Answer(**json.loads(answer.read_text(encoding="utf-8")))
    return reply if reply.state != FAILED else Answer(reply.state, reply.why, reply.records, end)


def _child(work: Callable[..., list[dict[str, Any]]], args: tuple[Any, ...], answer: Path, log: Path) -> None:
    with suppress(PermissionError):  # it leads a group already
        os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    _quiet()
    try:
        reply = Answer(DONE, records=work(*args))
    except NotHere as error:
        reply = Answer(SKIPPED, str(error))
    except ModuleNotFoundError as error:
        traceback.print_exc()
        foreign = (error.name or "").partition(".")[0] not in OURS
        reply = Answer(SKIPPED if foreign else FAILED, f"the package {error.name} is not installed")
    except Exception as error:
        traceback.print_exc()
        reply = Answer(FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    temporary = answer.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(reply)), encoding="utf-8")
    temporary.rename(answer)


def _quiet() -> None:
    """transformers without notes and progress bars."""
    with suppress(ImportError):
        from w2s_cli.training.models.opening import quiet

        quiet()
