"""The progress display while stages run: a live view on a terminal, plain lines elsewhere.

* Both views have the same interface, so the scheduler treats them alike. Plain lines are for log files: one at the start and the end of a
  stage, and one every ten seconds in between.
* The live view is in `live_view.py`; it is imported only on a terminal, and only if a stage runs.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from w2s_cli.pipeline.graph import Stage
from w2s_cli.terminal import one_line

LINE_EVERY_S = 10.0
OUTCOMES = {  # event at the end of a stage → its words
    "done": "done",
    "cached": "done by another command",
    "stopped": "stopped, state saved",
    "failed": "FAILED",
}


class View(Protocol):
    """The interface of a progress display."""

    def __enter__(self) -> "View": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def event(self, stage: Stage, event: dict[str, Any]) -> None: ...


def view(stages: Sequence[Stage], *, cached: int) -> View:
    """The view for the kind of standard output; `stages` are the stages to run, `cached` is the number of finished stages."""
    if not sys.stdout.isatty():
        return PlainView(stages)
    from w2s_cli.run.live_view import LiveView

    return LiveView(stages, cached)


class Clock:
    """Rates and remaining time of one running stage, from its cumulative counts."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first: dict[str, Any] | None = None  # first progress event; a resumed stage does not begin at step 0
        self.last: dict[str, Any] = {}  # progress event
        self.first_at = self.began
        self.last_line_at = self.began

    def figures(self, event: dict[str, Any]) -> list[str]:
        """'loss 0.412', '310 ex/s', '8.1k tok/s', '12 s left'"""
        now = time.monotonic()
        last, self.last = self.last, event
        # a download comes first, then the work itself; another process that goes on with the stage counts anew
        if self.first is None or last["total"] != event["total"] or event.get("tokens", 0) < last.get("tokens", 0):
            self.first, self.first_at = event, now
        seconds = now - self.first_at
        words = [f"loss {event['loss']:.3f}"] if "loss" in event else []
        for name, unit in (("examples", "ex/s"), ("tokens", "tok/s"), ("megabytes", "MB/s")):
            if name in event and seconds > 0.5:
                words.append(f"{short((event[name] - self.first.get(name, 0)) / seconds)} {unit}")
        done = event["step"] - self.first["step"]
        if done > 0 and event["step"] < event["total"]:
            words.append(f"{duration((event['total'] - event['step']) * seconds / done)} left")
        return words

    def elapsed(self, event: Mapping[str, Any] | None = None) -> str:
        """The time since the stage's start; of a stage on another machine, the `seconds` of the event."""
        return duration((event or {}).get("seconds", time.monotonic() - self.began))


class PlainView:
    """Plain lines for pipes, log files and CI."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.total = len(stages)
        self.finished = 0
        self.labels = Counter(map(stage_label, stages))  # one of several stages of a sweep is told apart by its key
        self.clocks: dict[str, Clock] = {}

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def event(self, stage: Stage, event: dict[str, Any]) -> None:
        kind = event["event"]
        label = stage_label(stage)
        label += f" {stage.key}" if self.labels[label] > 1 else ""
        if kind == "started":
            self.clocks[stage.key] = Clock()
            print(f"{label}: started", flush=True)
        elif kind == "progress":
            clock = self.clocks.setdefault(stage.key, Clock())
            if clock.first is None and event["step"] > 1 and stage.of.traits.trains:
                print(f"{label}: continues at step {event['step'] - 1}/{event['total']}", flush=True)
            figures = "  ".join(clock.figures(event))
            if time.monotonic() - clock.last_line_at >= LINE_EVERY_S:
                clock.last_line_at = time.monotonic()
                print(f"{label}: step {event['step']}/{event['total']}  {figures}", flush=True)
        elif kind == "notice":
            print(f"{label}: {one_line(event['text'])}", flush=True)
        elif kind == "silent":
            print(f"{label}: {silence(event)}", flush=True)
        elif kind == "restart":
            print(f"{label}: out of memory, continues in a new process with smaller micro-batches", flush=True)
        elif kind in OUTCOMES:
            self.finished += kind in ("done", "cached")
            clock = self.clocks.setdefault(stage.key, Clock())
            print(
                f"{label}: {OUTCOMES[kind]} in {clock.elapsed(event)} ({self.finished}/{self.total} stages)", flush=True
            )


def stage_label(stage: Stage, width: int = sys.maxsize) -> str:
    """'student (qwen2.5-0.5b, logconf, seed 0)', of at most `width` characters: without the model, then without the loss, … where
    that is too long."""
    model = [str(stage.about["model"])] if stage.about.get("model") else []
    learned = stage.about.get("labels") not in (None, "truth") and "loss" in stage.about
    loss = [stage.about["loss"]] if learned else []
    seed = [f"seed {stage.about['seed']}"] if "seed" in stage.about else []
    for details in ([*model, *loss, *seed], [*loss, *seed], seed):
        label = one_line(f"{stage.name} ({', '.join(details)})" if details else stage.name)
        if len(label) <= width:
            return label
    return one_line(stage.name)[:width]


def silence(event: dict[str, Any]) -> str:
    """The words for a stage that shows no progress."""
    return f"no progress for {duration(event['seconds'])}; its log: {event['log']}; Ctrl-C twice ends it"


def short(value: float) -> str:
    """1234 → '1.2k'."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Seconds for people: '8.2 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
