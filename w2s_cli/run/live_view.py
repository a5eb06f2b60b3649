"""The progress display on a terminal: a bar for all stages and for each running stage, and a line for each finished one.

* A line is laid out for the terminal's width (`line`). A narrow terminal has shorter labels, fewer figures and a shorter bar. No line is
  as wide as the terminal, so none is wrapped.
* The terminal does not print ^C while the view is shown: the view would be drawn one line too low, and an old line would stay.
* The lines fit the terminal's height: running stages first, then the stages that finished last.
"""

import os
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from w2s_cli.pipeline.graph import Stage
from w2s_cli.run.progress import OUTCOMES, Clock, silence, stage_label
from w2s_cli.terminal import console, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

FINISHED_SHOWN = 12  # number of finished stages on the screen
BAR, SHORTEST_BAR = 24, 10
FIGURES = 32  # characters of a running stage's figures, if there is room
SHORTEST_FIGURES = 16  # '59 min 59 s left'
BESIDE = len("✓ ") + len("  ") + len(" 100%") + len("  ") + 1  # the rest of a line, and a free column at its end
LEAST_NEEDED = ("tok/s", "ex/s", "MB/s", "loss")  # figures that a narrow line leaves out, in this order
PER_SECOND = 4.0
LOCAL_MODES = 3  # the place of these flags in a terminal's attributes


class Shown:
    """The state of one stage on the screen."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.clock = Clock()
        self.share: float | None = None  # of the work; None: not known yet
        self.figures: list[str] = []
        self.mark = ""  # of an ended stage
        self.words = ""  # of an ended stage: its outcome and time


class LiveView:
    """The view, drawn again four times a second."""

    def __init__(self, stages: Sequence[Stage], cached: int) -> None:
        from rich.live import Live

        self.total, self.cached, self.finished = len(stages), cached, 0
        self.longest = max((len(stage_label(stage)) for stage in stages), default=0)
        self.running: dict[str, Shown] = {}
        self.ended: list[Shown] = []
        self.open = ExitStack()
        self.console = console()
        self.live = Live(console=self.console, get_renderable=self.draw, refresh_per_second=PER_SECOND)

    def __enter__(self) -> "LiveView":
        self.open.enter_context(silent_controls())
        self.open.enter_context(self.live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open.close()

    def event(self, stage: Stage, event: dict[str, Any]) -> None:
        """Take an event of a worker into the view."""
        kind = event["event"]
        if kind == "notice":
            self.console.print(f"{stage_label(stage)}: {one_line(event['text'])}", markup=False, highlight=False)
        if kind not in ("started", "progress", "silent", *OUTCOMES):  # the view of a stage stays as it is
            return
        shown = self.running.setdefault(stage.key, Shown(stage))
        if kind == "started":
            self.running[stage.key] = Shown(stage)
        elif kind == "silent":
            shown.figures = [silence(event)]
        elif kind == "progress":
            shown.figures = shown.clock.figures(event)
            shown.share = event["step"] / event["total"] if event["total"] else None
        else:
            succeeded = kind in ("done", "cached")
            self.finished += succeeded
            shown.mark = "✓" if succeeded else "▪" if kind == "stopped" else "✗"
            shown.words = f"{OUTCOMES[kind]} in {shown.clock.elapsed(event)}"
            del self.running[stage.key]
            self.ended.append(shown)

    def draw(self) -> "RenderableType":
        """All lines, for the size that the terminal has now."""
        from rich.text import Text

        width, height = self.console.size
        label, bar, figures = widths(self.longest, width)
        cached = f", {self.cached} cached" if self.cached else ""
        lines = [
            line(" ", "stages".ljust(label), self.finished / self.total, f"{self.finished}/{self.total}{cached}", bar)
        ]
        running, room = list(self.running.values()), height - 2
        shown = running if len(running) <= room else running[: room - 1]
        last = min(FINISHED_SHOWN, room - len(running))
        for one in self.ended[-last:] if last > 0 else ():
            style = {"✓": "green", "▪": "yellow", "✗": "red"}[one.mark]
            lines.append(
                Text.assemble((one.mark, style), f" {stage_label(one.stage, label).ljust(label)}  {one.words}")
            )
        for one in shown:
            words = chosen([*one.figures, *([] if one.figures else [one.clock.elapsed()])], figures)
            lines.append(line("…", stage_label(one.stage, label).ljust(label), one.share, words, bar))
        if len(shown) < len(running):
            lines.append(Text(f"  … and {len(running) - len(shown)} more running stages"))
        for text in lines:
            text.truncate(width - 1)
        return Text("\n").join(lines)


def widths(longest: int, width: int) -> tuple[int, int, int]:
    """The characters of labels, bars and figures on a terminal.

    Args:
        longest: characters of the longest label.
    """
    label = max(0, min(longest, width - BESIDE - SHORTEST_BAR - SHORTEST_FIGURES))
    bar = min(BAR, max(SHORTEST_BAR, width - BESIDE - label - FIGURES))
    return label, bar, max(0, width - BESIDE - label - bar)


def line(mark: str, label: str, share: float | None, figures: str, bar: int) -> "Text":
    """'… student (wordnet-l, seed 0)  ━━━━━━╺━━━  60%  loss 0.412  12 s left'; a share of None has an empty bar."""
    from rich.text import Text

    filled = round(bar * min(1.0, share or 0.0))
    percent = "" if share is None else f"{100 * share:.0f}%"
    return Text.assemble(
        f"{mark} {label}  ", ("━" * filled, "green"), ("─" * (bar - filled), "dim"), f" {percent:>4}  {figures}"
    )


def chosen(figures: Sequence[str], width: int) -> str:
    """As many figures as fit, joined; the rates go first, the remaining time last."""
    kept = list(figures)
    for word in LEAST_NEEDED:
        if len("  ".join(kept)) > width:
            kept = [figure for figure in kept if word not in figure.split()]
    return "  ".join(kept)


@contextmanager
def silent_controls() -> Iterator[None]:
    """Within, the terminal does not print control characters that are typed: ^C."""
    before = _attributes()
    if before is None:
        yield
        return
    silent = [*before]
    silent[LOCAL_MODES] &= ~termios.ECHOCTL
    termios.tcsetattr(sys.stdout.fileno(), termios.TCSANOW, silent)
    try:
        yield
    finally:
        if _attributes() is not None:
            termios.tcsetattr(sys.stdout.fileno(), termios.TCSANOW, before)


def _attributes() -> list[Any] | None:
    """The terminal's attributes; None if it is lost, or another job's: a job in the background that sets them is stopped."""
    try:
        own = os.tcgetpgrp(sys.stdout.fileno()) == os.getpgrp()
        return termios.tcgetattr(sys.stdout.fileno()) if own else None
    except (OSError, ValueError, termios.error):
        return None
