"""Files, names and texts of any kind: each command ends with a message, soon, and nothing in them reaches the terminal as a sequence."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command.test_fuzz import at_most
from tests.command.test_wrong_commands import assert_refused
from tests.conftest import command, environment, sentences, write_jsonl
from w2s_cli.config.compose import Task, run
from w2s_cli.paths import read_mapping
from w2s_cli.terminal import one_line, visible

Run = Callable[..., subprocess.CompletedProcess[str]]
LOCAL = ["data=local", "data.text=text", "data.label=label"]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{above}'] * 9)}]\n" for above, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def own(folder: Path, place: str, content: bytes | str) -> list[str]:
    """The words for a folder of own files with this one."""
    path = folder / "own" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ["--config-dir", str(folder / "own")]


def test_control_characters_are_shown_and_lines_stay_lines() -> None:
    assert visible("a\x1b[31mb\x07\x9b\x7f\tc\nd\u2028") == "a\\x1b[31mb\\x07\\x9b\\x7f\tc\nd\\u2028"
    assert one_line("a\nb\tc\r") == "a\\nb\\tc\\r"
    assert visible("é日本 → ≤ − …") == "é日本 → ≤ − …"


def test_text_of_data_and_names_reaches_the_output_without_sequences(w2s_inside: Run, tmp_path: Path) -> None:
    rows = [{**row, "label": "\x1b[31mred[/b]" if row["label"] else "=cmd|x"} for row in sentences(240)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    words = [*LOCAL, "data.path=a.jsonl", "strong.name='a[/b]\x1b]0;x\x07'"]
    checked = w2s_inside("data", "check", *words, code=None)
    planned = w2s_inside("plan", *words)
    for said in (checked.stdout, planned.stdout, checked.stderr):
        assert "\x1b" not in said
        assert "\x07" not in said
    assert "\\x1b[31mred[/b]" in checked.stdout
    assert "a[/b]\\x1b]0;x\\x07" in planned.stdout


@pytest.mark.parametrize("kind", ["pipe", "zero", "tty", "folder of pipes"])
def test_a_pipe_or_a_device_is_no_data_and_does_not_hang(w2s_inside: Run, tmp_path: Path, kind: str) -> None:
    path = {"zero": Path("/dev/zero"), "tty": Path("/dev/tty")}.get(kind, tmp_path / "train.jsonl")
    if kind == "folder of pipes":
        path = tmp_path / "data" / "train.jsonl"
        path.parent.mkdir()
    if not path.exists():
        os.mkfifo(path)
    named = path.parent if kind == "folder of pipes" else path
    with at_most(30):
        done = w2s_inside("plan", *LOCAL, f"data.path={named}", "data.format=jsonl", code=None)
    assert_refused(done, str(named))


def test_files_in_another_encoding_are_refused_by_name(w2s_inside: Run, tmp_path: Path) -> None:
    yaml = own(tmp_path, "loss/mine.yaml", "# café\nname: mine\n".encode("latin-1"))
    assert_refused(w2s_inside("plan", *yaml, "loss=mine", code=None), "mine.yaml is not UTF-8 (byte 0xe9)", "iconv")
    own(tmp_path, "loss/mine.yaml", "name: mine\n")
    code = own(tmp_path, "losses/mine.py", "# café\ndef mine(logits, labels, *, progress): ...\n".encode("latin-1"))
    assert_refused(w2s_inside("plan", *code, "loss=mine", code=None), "losses/mine.py", "no Python")
    own(
        tmp_path,
        "losses/mine.py",
        "# -*- coding: latin-1 -*-\n# café\ndef mine(logits, labels, *, progress): ...\n".encode("latin-1"),
    )
    assert "mine" in w2s_inside("plan", *code, "loss=mine").stdout  # it states its encoding, so Python reads it


def test_aliases_that_grow_without_an_end_are_refused_in_no_time(w2s_inside: Run, tmp_path: Path) -> None:
    words = own(tmp_path, "data/bomb.yaml", BOMB)
    with at_most(30):
        assert_refused(w2s_inside("plan", *words, "data=bomb", code=None), "bomb.yaml", "larger than 100,000 values")
    own(tmp_path, "data/bomb.yaml", "a: &a [*a]\n")
    assert_refused(w2s_inside("plan", *words, "data=bomb", code=None), "bomb.yaml", "inside its own anchor")
    (tmp_path / "few.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    assert read_mapping(tmp_path / "few.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize(
    ("place", "content", "word", "said"),
    [
        (
            "method/mine.yaml",
            "name: mine\nbase: naive\nstages: {a: b}\n",
            "method=mine",
            'stage "a": b is no mapping of fields',
        ),
        (
            "method/mine.yaml",
            "name: mine\nbase: [{a: 1}]\nstages: {}\n",
            "method=mine",
            "must be the name of a method",
        ),
        (
            "method/mine.yaml",
            "name: mine\nstages: [a]\n",
            "method=mine",
            "method/mine.yaml has another shape than its group",
        ),
        (
            "method/mine.yaml",
            "defaults: [mine2]\nname: mine\nstages: {}\n",
            "method=mine",
            "method/mine.yaml has defaults",
        ),
        ("data/mine.yaml", "[" * 100_000, "data=mine", "nested too deeply"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_name(
    w2s_inside: Run, tmp_path: Path, place: str, content: str, word: str, said: str
) -> None:
    assert_refused(w2s_inside("plan", *own(tmp_path, place, content), word, code=None), said)


def test_words_of_any_length_or_coding_are_refused_shortly(w2s: Run, w2s_inside: Run) -> None:
    long = w2s_inside("plan", *LOCAL, f"data.path={'a' * 5000}", code=None)
    assert_refused(long, "File name too long")
    assert len(long.stderr) < 500
    assert_refused(w2s("plan", os.fsdecode(b"data.name=\xff"), code=None), "is not UTF-8")


def test_a_plan_makes_no_folder(w2s_inside: Run, tiny: list[str], tmp_path: Path) -> None:
    w2s_inside("plan", *tiny, "outputs=new")
    assert not (tmp_path / "new").exists()


def test_a_missing_working_directory_and_an_ascii_terminal_are_no_bugs(w2s: Run, tmp_path: Path) -> None:
    assert "\\u2264" in w2s("plan", "debug=tiny", PYTHONIOENCODING="ascii").stdout
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {shlex.join(command(['ls']))}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    assert "the working directory no longer exists" in done.stderr


def test_two_choices_of_one_thing_and_values_without_sense_are_refused(w2s_inside: Run) -> None:
    for words, said in {
        ("labels=file", "labels.path=a.jsonl", "labels.source=weak"): "labels=NAME sets labels.source",
        ("method=ensemble", "combine=metal", "combine.prior=[.9,.9]"): "combine.prior=[0.9, 0.9] must be 2 shares",
        ("seed=range(0,1000000000)",): "add -m",
        ("-m", "seed=range(0,10000)"): "more than most_jobs=1000",
        ("-m", "loss=xent,kl", "seeds=900"): "this sweep has 1,800 jobs",
        ("debug=[1]",): "a group has one of its names",
        ("weak={}",): "a group has one of its names",
        ("strong.name=1e400",): "strong.name=inf: must be a text",
    }.items():
        with at_most(30):
            assert_refused(w2s_inside("plan", *words, code=None), said)


@pytest.mark.slow
def test_five_hundred_jobs_are_planned_in_seconds(w2s_inside: Run) -> None:
    planned: Task = lambda jobs, _: len(jobs)  # noqa: E731
    assert run(["-m", "seed=range(0,1500)", "most_jobs=1500"], planned) == 1500
    with at_most(30):
        assert "5501 asked for" in w2s_inside("plan", "-m", "seed=range(0,500)", "debug=tiny").stdout
