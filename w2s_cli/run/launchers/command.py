"""Workers on any cluster: `launcher.template` is a line of the shell that runs one worker and waits for its end (ssh, qsub -sync y, sky).

* The line has a place for the worker, {worker}: the path of a script in the stage's folder. It may have {name}: the stage's name and key in
  letters, digits and dashes.
* The line's standard output may be the worker's or not. Its lines that are events of the worker become progress; without them the
  progress and the outcome are in the stage's files. The last line that is no event ("ssh: connect to host …") is told if no worker ran.
* No signal crosses machines: a file in the stage's folder asks the worker to save and stop (run/worker.py). The line is in a session of its
  own, so Ctrl-C does not end ssh before the worker has saved. A second Ctrl-C kills the line.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import string
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.run.followed import Followed
from w2s_cli.run.workplace import EXIT_STOPPED, STOP, write_script

HERE = False
PLACES = ("worker", "name")
ENDED_S = 30.0  # for the line to end after its worker
LOOK_S = 0.5  # between two looks into the stage's folder
LONGEST = 300  # characters of a line that is told
CAUSES = {  # exit code of a line that left no outcome → why
    0: "the line of launcher.template ended before its worker: it must wait for the worker's end, as qsub -sync y does",
    126: "the line of launcher.template cannot be run",
    127: "the line of launcher.template names a program that does not exist here",
}


@dataclass
class LineWorker:
    """A line of the shell that runs one stage."""

    template: str
    processes: int
    key: str | None = None
    single: bool = True
    words: str = ""
    _ends: tuple[int, int] = field(default_factory=os.pipe)  # its standard output: the end to read, the end to write
    _popen: subprocess.Popen[bytes] | None = None
    _followed: Followed | None = None  # its stage
    _redo: str | None = None
    _rest: bytes = b""  # beginning of an incomplete line
    _told: bool = False  # its outcome
    _asked: bool = False  # to stop
    _sends: bool = False  # its output has events
    _looked: float = 0.0

    def fileno(self) -> int:
        """The end of the pipe with its standard output."""
        return self._ends[0]

    def give(self, key: str, folder: Path, redo: str | None) -> None:
        """Start the line."""
        self.key, self._followed, self._redo = key, Followed(folder), redo
        (folder / STOP).unlink(missing_ok=True)
        (folder / "failed.json").unlink(missing_ok=True)
        line = filled(self.template, shlex.quote(str(write_script(folder, redo, self.processes))), folder.name)
        writing = self._ends[1]
        self._popen = subprocess.Popen(
            line,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(writing)

    def events(self) -> list[dict[str, Any]] | None:
        """The worker's events in the line's output; at its end the outcome from the stage's files, then None."""
        chunk = os.read(self.fileno(), 65536)
        if not chunk:
            outcome = None if self._told else self._outcome()
            self._told = True
            return None if outcome is None else [outcome]
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = [event for event in map(self._event, lines) if event is not None]
        self._sends = self._sends or bool(events)
        return events

    def look(self) -> list[dict[str, Any]]:
        """The start and the position of the stage, where the line keeps its worker's output."""
        if self._followed is None or self._sends or time.monotonic() < self._looked + LOOK_S:
            return []
        self._looked = time.monotonic()
        return self._followed.events()

    def _event(self, line: bytes) -> dict[str, Any] | None:
        """A line of the output as an event that leaves the outcome open; the outcome is read from files when the line has ended."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            assert self._followed is not None
            if event["event"] == "started":
                if self._followed.started:  # its folder was faster
                    return None
                self._followed.started = True
            return event if event["event"] in ("started", "progress", "advice", "notice") else None
        self.words = line.decode(errors="replace").strip()[:LONGEST] or self.words
        return None

    def _outcome(self) -> dict[str, Any] | None:
        """The outcome that the worker has left in the stage's folder, or that the line's own end is; None if the worker died."""
        assert self._followed is not None
        if outcome := self._followed.outcome(self._redo):
            return outcome
        if self.code() == EXIT_STOPPED or (self._asked and not self.code()):
            return {"event": "stopped"}
        if cause := CAUSES.get(self.code()):
            printed = f". It printed: {self.words}" if self.words else ""
            return {"event": "failed", "message": f"{cause}{printed}", "user": True}
        return None

    def stop(self, *, now: bool) -> None:
        """Leave the file that asks the worker to stop; with `now`, kill the line."""
        if self._followed is None or self._popen is None:
            return
        self._asked = True
        (self._followed.folder / STOP).touch()
        if now:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def code(self) -> int:
        """The exit code of the line."""
        assert self._popen is not None
        return self._popen.wait()

    def end(self) -> None:
        """Wait for the line's end."""
        os.close(self.fileno())
        if self._popen is None:
            os.close(self._ends[1])
            return
        try:
            self._popen.wait(timeout=ENDED_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()


def check(settings: Mapping[str, Any]) -> None:
    """Refuse (UserError) a template that is missing or has no place for the worker."""
    template = settings["template"]
    if not template:
        raise UserError(
            "launcher=command needs the line that runs a worker, and that waits for its end: "
            """'launcher.template="ssh node7 {worker}"'"""
        )
    try:
        places = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise UserError(f"launcher.template: {error}. A brace of the shell is written twice: {{{{ and }}}}.") from error
    unknown = sorted(places - set(PLACES))
    if unknown or "worker" not in places:
        what = f"there is no {{{unknown[0]}}}" if unknown else "{worker} is missing"
        raise UserError(
            f"launcher.template={template}: {what}. It has {{worker}}, the path of a script that runs the worker, and may have {{name}}; "
            "a brace of the shell is written twice."
        )


def start(settings: Mapping[str, Any], processes: int) -> LineWorker:
    """A worker for one stage, of so many processes on one machine."""
    return LineWorker(settings["template"], processes)


def filled(template: str, worker: str, name: str) -> str:
    """The line for one stage, from its folder's name."""
    return template.format(worker=worker, name=re.sub(r"[^A-Za-z0-9-]+", "-", name))
