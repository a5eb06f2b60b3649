"""The live view fits its terminal: whole words, whole bars, no line that wraps, no more lines than rows."""

from typing import Any

import pytest

from w2s_cli.pipeline import kinds
from w2s_cli.pipeline.graph import Stage
from w2s_cli.run.live_view import SHORTEST_BAR, LiveView, chosen
from w2s_cli.run.progress import PlainView, stage_label

FIGURES = ["loss 0.412", "310 ex/s", "8.1k tok/s", "3 min 20 s left"]


def stage(number: int, name: str = "student", model: str = "qwen2.5-0.5b") -> Stage:
    about = {"model": model, "loss": "logconf", "labels": "labels", "seed": number}
    return Stage(name, kinds.find("finetune"), {"inputs": {}}, f"{name}{number}", "", {}, about)


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, rows: int, stages: list[Stage], ended: int) -> list[str]:
    """The lines of a view of stages, of which the first have ended and all others are in the middle."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    view = LiveView(stages, cached=3)
    for number, each in enumerate(stages):
        view.event(each, {"event": "started"})
        event: dict[str, Any] = {"event": "progress", "step": 1, "total": 100, "loss": 0.5, "examples": 1, "tokens": 9}
        view.event(each, event)
        view.running[each.key].clock.first_at -= 60
        view.event(each, {**event, "step": 60, "examples": 9999, "tokens": 1_000_000})
        if number < ended:
            view.event(each, {"event": "failed" if number == 1 else "done"})
    return str(view.draw()).splitlines()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (100, 30), (60, 12), (200, 50)])
def test_every_line_fits_and_every_running_stage_has_a_whole_bar(
    monkeypatch: pytest.MonkeyPatch, columns: int, rows: int
) -> None:
    lines = drawn(monkeypatch, columns, rows, [stage(number) for number in range(20)], ended=17)
    assert len(lines) < rows
    assert all(len(line) < columns for line in lines)
    first, *others = lines
    assert "16/20, 3 cached" in first
    running = [line for line in others if line.startswith("…")]
    assert len(running) == 3
    for line in [first, *running]:
        assert sum(line.count(sign) for sign in "━─") >= SHORTEST_BAR
    for line in running:
        assert "student" in line
        assert "seed 1" in line
        assert " 60%  " in line
        assert line.endswith("40.7 s left")
        assert "…" not in line[1:]
    assert sum(line.startswith("✓") and "done in" in line for line in others) == min(12, rows - 2 - 3)


def test_a_notice_is_printed_above_the_bars(capsys: pytest.CaptureFixture[str]) -> None:
    for view in (LiveView([stage(0)], cached=0), PlainView([stage(0)])):
        view.event(stage(0), {"event": "notice", "text": "tracker x failed: [red]no\x1b network", "about": "tracker x"})
        said = capsys.readouterr().out
        assert "student (qwen2.5-0.5b, logconf, seed 0): tracker x failed: [red]no" in said
        assert "\x1b" not in said


def test_more_running_stages_than_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80, 10, [stage(number) for number in range(30)], ended=0)
    assert len(lines) == 9
    assert "and 23 more running stages" in lines[-1]


def test_a_failed_stage_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80, 24, [stage(number) for number in range(3)], ended=3)
    assert [line[0] for line in lines[1:]] == ["✓", "✗", "✓"]
    assert "FAILED in" in lines[2]


def test_a_label_loses_its_details_before_its_letters() -> None:
    long = stage(7, model="a-model-with-a-very-long-name-of-its-own")
    assert stage_label(long) == "student (a-model-with-a-very-long-name-of-its-own, logconf, seed 7)"
    assert stage_label(long, 40) == "student (logconf, seed 7)"
    assert stage_label(long, 20) == "student (seed 7)"
    assert stage_label(long, 5) == "stude"


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "loss 0.412  310 ex/s  8.1k tok/s  3 min 20 s left"),
        (40, "loss 0.412  310 ex/s  3 min 20 s left"),
        (30, "loss 0.412  3 min 20 s left"),
        (16, "3 min 20 s left"),
    ],
)
def test_rates_give_way_before_the_remaining_time(width: int, shown: str) -> None:
    assert chosen(FIGURES, width) == shown


def test_plain_lines_tell_stages_with_the_same_words_apart(capsys: pytest.CaptureFixture[str]) -> None:
    kind = kinds.find("rows")
    rows = [
        Stage("rows:test", kind, {"inputs": {}}, key, "", {}, {"data": "d", "rows": "test"}) for key in ("aaa", "bbb")
    ]
    view = PlainView([*rows, stage(1)])
    for each in (*rows, stage(1)):
        view.event(each, {"event": "started"})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "rows:test aaa: started",
        "rows:test bbb: started",
        "student (qwen2.5-0.5b, logconf, seed 1): started",
    ]
