"""The progress display while stages run: a live view on a terminal, plain lines elsewhere.

* Both views have the same interface, so the scheduler treats them alike. Plain lines are for log files: one at the start and the end of a
  stage, and one every ten seconds in between.
* rich is imported only on a terminal, and only if a stage runs.
"""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from w2s_cli.pipeline.graph import Stage
from w2s_cli.terminal import console, one_line

LINE_EVERY_S = 10.0
FINISHED_SHOWN = 12  # number of finished stages on the screen


class View(Protocol):
    """The interface of a progress display."""

    def __enter__(self) -> "View": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def event(self, stage: Stage, event: dict[str, Any]) -> None: ...


def view(stages: Sequence[Stage], *, cached: int) -> View:
    """The view for the kind of standard output; `stages` are the stages to run, `cached` is the number of finished stages."""
    return LiveView(stages, cached) if sys.stdout.isatty() else PlainView(stages)


class Clock:
    """Rates and remaining time of one running stage, from its cumulative counts."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first: dict[str, Any] | None = None  # first progress event; a resumed stage does not begin at step 0
        self.first_at = self.began
        self.last_line_at = self.began

    def figures(self, event: dict[str, Any]) -> str:
        """'loss 0.412  310 ex/s  8.1k tok/s  12 s left'"""
        now = time.monotonic()
        if self.first is None or self.first["total"] != event["total"]:  # a download comes first, then the work itself
            self.first, self.first_at = event, now
        seconds = now - self.first_at
        words = [f"loss {event['loss']:.3f}"] if "loss" in event else []
        for name, unit in (("examples", "ex/s"), ("tokens", "tok/s"), ("megabytes", "MB/s")):
            if name in event and seconds > 0.5:
                words.append(f"{short((event[name] - self.first.get(name, 0)) / seconds)} {unit}")
        done = event["step"] - self.first["step"]
        if done > 0 and event["step"] < event["total"]:
            words.append(f"{duration((event['total'] - event['step']) * seconds / done)} left")
        return "  ".join(words)

    def elapsed(self) -> str:
        return duration(time.monotonic() - self.began)


class PlainView:
    """Plain lines for pipes, log files and CI."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.total = len(stages)
        self.finished = 0
        self.clocks: dict[str, Clock] = {}

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def event(self, stage: Stage, event: dict[str, Any]) -> None:
        kind = event["event"]
        label = stage_label(stage)
        if kind == "started":
            self.clocks[stage.key] = Clock()
            print(f"{label}: started", flush=True)
        elif kind == "progress":
            clock = self.clocks.setdefault(stage.key, Clock())
            if clock.first is None and event["step"] > 1 and stage.of.traits.trains:
                print(f"{label}: continues at step {event['step'] - 1}/{event['total']}", flush=True)
            figures = clock.figures(event)
            if time.monotonic() - clock.last_line_at >= LINE_EVERY_S:
                clock.last_line_at = time.monotonic()
                print(f"{label}: step {event['step']}/{event['total']}  {figures}", flush=True)
        elif kind == "silent":
            print(f"{label}: {silence(event)}", flush=True)
        elif kind == "restart":
            print(f"{label}: out of memory, continues in a new process with smaller micro-batches", flush=True)
        elif kind != "busy":
            self.finished += kind in ("done", "cached")
            clock = self.clocks.setdefault(stage.key, Clock())
            print(f"{label}: {outcome(event)} in {clock.elapsed()} ({self.finished}/{self.total} stages)", flush=True)


class LiveView:
    """One bar for all stages, one for each running stage."""

    def __init__(self, stages: Sequence[Stage], cached: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.progress = Progress(
            TextColumn("{task.fields[mark]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console(),
        )
        self.cached_words = f", {cached} cached" if cached else ""
        self.total = len(stages)
        self.overall = self.progress.add_task(
            "stages", total=self.total, mark=" ", figures=f"0/{self.total}{self.cached_words}"
        )
        self.finished = 0
        self.tasks: dict[str, Any] = {}
        self.ended: list[Any] = []
        self.clocks: dict[str, Clock] = {}

    def __enter__(self) -> "LiveView":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def event(self, stage: Stage, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in ("busy", "restart"):
            return
        if stage.key not in self.tasks:
            self.tasks[stage.key] = self.progress.add_task(stage_label(stage), total=None, mark="…", figures="")
            self.clocks[stage.key] = Clock()
        task, clock = self.tasks[stage.key], self.clocks[stage.key]
        if kind == "started":
            self.clocks[stage.key] = Clock()
        elif kind == "silent":
            self.progress.update(task, figures=silence(event))
        elif kind == "progress":
            figures = clock.figures(event)
            self.progress.update(task, completed=event["step"], total=event["total"], figures=figures)
        else:
            succeeded = kind in ("done", "cached")
            self.finished += succeeded
            mark = "[green]✓[/]" if succeeded else "[yellow]▪[/]" if kind == "stopped" else "[red]✗[/]"
            figures = f"{outcome(event)} in {clock.elapsed()}"
            self.progress.update(
                task, completed=1 if succeeded else None, total=1 if succeeded else None, mark=mark, figures=figures
            )
            self.progress.update(
                self.overall, completed=self.finished, figures=f"{self.finished}/{self.total}{self.cached_words}"
            )
            self.ended.append(task)
            if len(self.ended) > FINISHED_SHOWN:
                self.progress.update(self.ended.pop(0), visible=False)


def stage_label(stage: Stage) -> str:
    """'student (qwen2.5-0.5b, seed 0)'"""
    details = [str(stage.about["model"])] if stage.about.get("model") else []
    details += (
        [stage.about["loss"]] if stage.about.get("labels") not in (None, "truth") and "loss" in stage.about else []
    )
    details += [f"seed {stage.about['seed']}"] if "seed" in stage.about else []
    return one_line(f"{stage.name} ({', '.join(details)})" if details else stage.name)


def silence(event: dict[str, Any]) -> str:
    """The words for a stage that shows no progress."""
    return f"no progress for {duration(event['seconds'])}; its log: {event['log']}; Ctrl-C twice ends it"


def outcome(event: dict[str, Any]) -> str:
    """The words for the end of a stage."""
    return {"done": "done", "cached": "done by another command", "stopped": "stopped, state saved", "failed": "FAILED"}[
        event["event"]
    ]


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
