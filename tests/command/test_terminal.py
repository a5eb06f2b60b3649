"""What a user sees in a window of 80 × 24 or 100 × 30: nothing is cut, no path is broken, and Ctrl-C leaves no old line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import command, environment
from tests.terminal import Terminal, shown

Run = Callable[..., Any]


def window(folder: Path, *words: str, columns: int = 80, rows: int = 24) -> Terminal:
    """A command in a window."""
    env = {name: value for name, value in environment(TERM="xterm").items() if name != "COLUMNS"}
    return Terminal(command(words), folder, env, columns=columns, rows=rows)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (100, 30)])
def test_tables_of_a_window_have_every_key_and_every_word_whole(
    tmp_path: Path, ran: list[str], columns: int, rows: int
) -> None:
    keys = {path.name[-12:] for path in (tmp_path / "outputs" / "stages").glob("*/*-*")}
    for words in (["plan", *ran], ["ls"], ["status"], ["train", *ran]):
        terminal = window(tmp_path, *words, columns=columns, rows=rows)
        screen = terminal.read_until(None)
        assert terminal.code() == 0
        assert "…" not in screen, screen
        if words[0] != "train":
            assert keys <= set(re.findall(r"\b[0-9a-f]{12}\b", screen)), screen
    (run,) = (tmp_path / "outputs" / "runs").glob("*/*")
    assert f"\noutputs/runs/{run.parent.name}/{run.name}\n" in f"{screen}\n"


@pytest.mark.slow
def test_ctrl_c_leaves_one_bar_and_no_old_line(tmp_path: Path, tiny: list[str]) -> None:
    terminal = window(tmp_path, "train", *tiny, "train.epochs=5000", "launcher.log_every=1")
    terminal.read_until("loss ")
    terminal.type("\x03")
    screen = terminal.read_until(None)
    assert terminal.code() == 75
    assert "^C" not in screen
    assert sum(line.startswith("  stages  ") for line in screen.splitlines()) == 1
    assert len(re.findall("weak .*stopped, state saved", screen)) == 1
    assert "left" not in screen
    assert "Continue with: w2s train" in screen


@pytest.mark.slow
def test_a_sweep_ends_in_one_table_with_a_row_for_each_setting(w2s_inside: Run, ran: list[str], tmp_path: Path) -> None:
    swept = ["train", "-m", *ran, "loss=xent,kl", "seed=0,1"]
    out = w2s_inside(*swept).stdout
    (head,) = re.findall("^loss +seeds +weak +student +ceiling +PGR +interval$", out, re.MULTILINE)
    table = out[out.index(head) :].splitlines()
    assert [line.split()[:3] for line in table[1:3]] == [["xent", "0,", "1"], ["kl", "0,", "1"]]
    assert "agreement" not in out
    assert "weak local-weak" not in out.split(head)[1]
    screen = window(tmp_path, *swept).read_until(None)
    assert "…" not in screen
    assert re.search("^kl +0, 1 ", screen, re.MULTILINE)


def test_the_terminal_of_these_tests_shows_what_a_terminal_shows() -> None:
    assert shown("one\r\ntwo\x1b[1A\r\x1b[2Kthree\r\n\x1b[1mend", 80) == "three\nend"
    assert shown("abcdef", 4) == "abcd\nef"
    assert shown("ab\rc", 4) == "cb"
