"""Standard output and standard error: what they may hold, and what happens when they cannot be written.

* Control characters in what is printed become visible escapes (`terminal.py`); characters that the stream's encoding lacks become
  escapes too.
* A stream cannot be written behind a closed pipe (`| head`), on a full disk (`> log`), or on a lost terminal.
* A command that only shows ends there: quietly if its reader has gone, with a message otherwise.
* A command that runs or removes something goes on to its end in silence, and its exit code is that of its work.
* Standard error is never a reason to end.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from typing import Any, TextIO, cast

from w2s_cli.terminal import visible


class OutputLost(Exception):  # noqa: N818 - no error where the reader of a pipe has gone
    """Standard output cannot be written, with the system's reason; the cause is the OSError."""


class Output:
    """A text stream whose file becomes /dev/null when it cannot be written; with `needed`, that raises OutputLost."""

    def __init__(self, stream: Any, *, needed: bool, escaping: bool = True) -> None:
        self.stream = stream
        self.needed = needed
        self.escaping = escaping

    def unescaped(self) -> "Output":
        """The same stream for rich, whose sequences move the cursor."""
        return Output(self.stream, needed=self.needed, escaping=False)

    def write(self, text: str) -> int:
        """Write or drop `text`, with its control characters as escapes."""
        self._try(self.stream.write, visible(text) if self.escaping else text)
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


def write_any_text() -> None:
    """Let the standard streams write characters that their encoding lacks (LC_ALL=C), as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
