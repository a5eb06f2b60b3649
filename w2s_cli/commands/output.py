"""Standard output and standard error that cannot be written: a closed pipe (`| head`), a full disk behind `> log`, a lost terminal.

* A command that only shows ends there: quietly if its reader has gone, with a message otherwise.
* A command that runs or removes something goes on to its end in silence, and its exit code is that of its work.
* Standard error is never a reason to end.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast


class OutputLost(Exception):  # noqa: N818 - no error where the reader of a pipe has gone
    """Standard output cannot be written, with the system's reason; the cause is the OSError."""


class Output:
    """A text stream whose file becomes /dev/null when it cannot be written; with `needed`, that raises OutputLost."""

    def __init__(self, stream: Any, *, needed: bool) -> None:
        self.stream = stream
        self.needed = needed

    def write(self, text: str) -> int:
        """Write or drop `text`."""
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Write or drop the stream's buffer."""
        self._try(self.stream.flush)

    def _try(self, call: Any, *arguments: str) -> None:
        try:
            call(*arguments)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # takes the stream's buffer too
            os.close(nowhere)
            if self.needed:
                raise OutputLost(error.strerror) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guarded(*, needed: bool) -> Iterator[None]:
    """Within, output that cannot be written is dropped; with `needed`, it raises OutputLost for standard output."""
    out, errors = (s.stream if isinstance(s, Output) else s for s in (sys.stdout, sys.stderr))
    guards = Output(out, needed=needed), Output(errors, needed=False)
    with redirect_stdout(cast(TextIO, guards[0])), redirect_stderr(cast(TextIO, guards[1])):
        try:
            yield
        finally:
            guards[0].needed = False  # the outcome is decided; the interpreter must not meet the buffer again
            for guard in guards:
                guard.flush()


def open_closed() -> None:
    """Open /dev/null for each standard stream that the shell closed (`>&-`): else the next file would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # by number: open() takes the lowest free one
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - open as long as the process
            os.set_inheritable(stream.fileno(), True)  # by the workers
            setattr(sys, name, stream)
