"""Many copies side by side: one refusal is one outcome, a failure stops all of them, and Ctrl-C is obeyed at once."""

import signal
import threading
import time

import pytest

from w2s_cli.remotes.copying import copy_all
from w2s_cli.remotes.fetch import Outcome, Watch
from w2s_cli.remotes.offers import Refused

STAGES = range(100)


def named(stage: int) -> tuple[str, str]:
    return str(stage), f"stage-{stage}"


def test_a_refused_stage_is_an_outcome_and_the_others_go_on() -> None:
    def copy(stage: int, watch: Watch) -> Outcome:
        if stage == 3:
            raise Refused("conflict", "another result")
        watch(stage)
        return Outcome(*named(stage), "copied", bytes=stage)

    told: list[int] = []
    outcomes = copy_all(STAGES, named, copy, told.append)
    assert [outcome.key for outcome in outcomes] == [str(stage) for stage in STAGES]
    assert outcomes[3] == Outcome("3", "stage-3", "conflict", "another result")
    assert sum(told) == sum(STAGES) - 3


@pytest.mark.parametrize("end", [OSError("no space left"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_failure_or_ctrl_c_stops_copies_at_their_next_bytes(end: BaseException) -> None:
    begun, running = [], threading.Event()

    def copy(stage: int, watch: Watch) -> Outcome:
        begun.append(stage)
        if stage == 5:
            running.wait(10)
            if isinstance(end, OSError):
                raise end
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        running.set()
        while True:  # a file of many gigabytes
            time.sleep(0.01)
            watch(1)

    started = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    try:
        with pytest.raises(type(end)):
            copy_all(STAGES, named, copy)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 5
    assert len(begun) <= 8
