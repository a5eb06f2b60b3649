"""Signals that ask a command or a worker to save and stop.

* SIGUSR1 and SIGUSR2 come from batch systems before the end of the time limit (Slurm's `--signal=USR1@60`), SIGHUP from a terminal or
  connection that closes.
* Under `nohup` SIGHUP is ignored from the start, and stays so.
"""

import signal
from collections.abc import Callable
from typing import Any

INSISTING = (signal.SIGINT, signal.SIGTERM)  # a second one of these does not wait for the save
ASKING = (*INSISTING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


def handle(handler: Callable[[int, object], None]) -> dict[int, Any]:
    """Make `handler` the handler of all signals that ask for a stop; returns the handlers before."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return {number: signal.signal(number, handler) for number in ASKING if not (number == signal.SIGHUP and ignored)}


def ignore() -> None:
    """Ignore these signals from now on: at the end of the process, when Python has put back the system's handlers, one would kill it."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
