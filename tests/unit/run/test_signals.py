"""Every signal of a batch system, a user or a terminal asks for a stop; SIGHUP does not under nohup."""

import os
import signal
from collections.abc import Iterator

import pytest

from w2s_cli.run.signals import ASKING, handle


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The handlers of the test's process come back."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def heard(number: signal.Signals, hangup: signal.Handlers) -> list[int]:
    """The signals that the handler got after one `number`, where SIGHUP had the action `hangup`."""
    got: list[int] = []
    signal.signal(signal.SIGHUP, hangup)
    handle(lambda received, _: got.append(received))
    os.kill(os.getpid(), number)
    return got


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP"])
def test_each_signal_asks_for_a_stop(name: str) -> None:
    number = signal.Signals[name]
    assert heard(number, signal.SIG_DFL) == [number]


def test_a_closed_terminal_is_not_heard_under_nohup() -> None:
    assert heard(signal.SIGHUP, signal.SIG_IGN) == []
    assert heard(signal.SIGUSR2, signal.SIG_IGN) == [signal.SIGUSR2]
