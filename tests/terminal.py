"""A terminal for tests: a command in a pseudo-terminal of a size, keys that are typed into it, and what its screen shows."""

import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path

CODES = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b[()][A-Z]")


class Terminal:
    """A command whose standard streams are a terminal, the controlling one of its session, as in a user's window."""

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str], *, columns: int, rows: int
    ) -> None:
        self.columns = columns
        self.written = b""
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            # ignored where the tests run in the background of a shell
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(folder)
            os.execvpe(command[0], list(command), dict(env))

    def read_until(self, sign: str | None, seconds: float = 120) -> str:
        """Read until the screen shows `sign`, or with None until the command has ended; returns the screen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if sign is not None and sign in self.screen():
                return self.screen()
            if select.select([self.descriptor], [], [], 0.1)[0]:
                try:
                    read = os.read(self.descriptor, 65536)
                except OSError:  # Linux: the last process of the terminal has ended
                    read = b""
                self.written += read
                if not read:
                    break
        assert sign is None, f"{sign!r} is not on the screen:\n{self.screen()}"
        return self.screen()

    def read_for(self, seconds: float) -> None:
        """Read what comes in this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.descriptor], [], [], left)[0]:
                self.written += os.read(self.descriptor, 65536)

    def type(self, keys: str) -> None:
        """Type keys; "\x03" is Ctrl-C."""
        os.write(self.descriptor, keys.encode())

    def code(self) -> int:
        """The exit code of the ended command."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def end(self) -> None:
        """Kill the command, which waits for more."""
        os.kill(self.process, signal.SIGKILL)
        os.close(self.descriptor)
        os.waitpid(self.process, 0)

    def screen(self) -> str:
        """All lines that the terminal shows and has scrolled away."""
        return shown(self.written.decode(errors="replace"), self.columns)


def shown(text: str, columns: int) -> str:
    """The lines on an endless screen after a text with control codes: line feeds, wrapping, and rich's moves and erasures."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(text):
        code = CODES.match(text, place)
        if code:
            place = code.end()
            number, kind = code[1] or "", code[2]
            if kind == "A":
                row = max(0, row - int(number or 1))
            elif kind == "K":
                lines[row] = "" if number == "2" else lines[row][:column]
            continue
        sign, place = text[place], place + 1
        if sign == "\r":
            column = 0
        elif sign == "\n" or column == columns:
            row, column = row + 1, 0 if sign != "\n" else column
            lines += [""] * (row + 1 - len(lines))
        if sign not in "\r\n":
            lines[row] = f"{lines[row][:column].ljust(column)}{sign}{lines[row][column + 1 :]}"
            column += 1
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":  # what a command looks like: python -m tests.terminal COLUMNSxROWS COMMAND…
    width, _, height = sys.argv[1].partition("x")
    print(
        Terminal(sys.argv[2:], Path.cwd(), os.environ, columns=int(width), rows=int(height)).read_until(
            None, seconds=600
        )
    )
