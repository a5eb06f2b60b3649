"""One rule names a run for every command: path, date/time-slug, beginnings of it, its digest, latest; and what is said of wrong names."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import w2s_cli
from tests.stored_results import store_run
from w2s_cli.cli import dispatch
from w2s_cli.errors import UserError
from w2s_cli.results.runs import find_run, find_runs, run_folders, whole_run

NAMES = {
    "runs/2026-01-01/100000-gpt2-qwen-sciq-aaaa1111": 30,  # seconds after the oldest
    "runs/2026-01-02/090000-gpt2-qwen-sciq-bbbb2222": 10,
    "sweeps/2026-01-02/110000-gpt2-qwen-boolq-abcd3333": 20,
    "runs/2026-01-01/100001-gpt2-qwen-sciq": 0,  # a name whose last part is no digest
}
FIRST, SECOND, SWEEP, PLAIN = NAMES


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder of four runs, and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    for name, age in NAMES.items():
        folder = tmp_path / "outputs" / name
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text('{"format": 2, "stages": []}')
        os.utime(folder / "plan.json", (1_000_000 + age, 1_000_000 + age))
    (tmp_path / "outputs" / "runs" / "2026-01-02" / "empty").mkdir()
    (tmp_path / "outputs" / "stages").mkdir()
    return tmp_path / "outputs"


def test_runs_stand_in_the_order_in_which_they_were_written_to(root: Path) -> None:
    assert [path.relative_to(root).as_posix() for path in run_folders(root)] == [PLAIN, SECOND, SWEEP, FIRST]
    (root / SECOND / "report.html").write_text("")  # a report is nothing that the run did
    assert find_run(root, "latest") == root / FIRST
    (root / SWEEP / "results.json").write_text("{}")
    assert find_run(root, "latest") == root / SWEEP


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("latest", FIRST),
        (f"outputs/{SECOND}", SECOND),
        (f"outputs/{SECOND}/", SECOND),
        (SWEEP, SWEEP),
        ("sweeps/", SWEEP),
        ("2026-01-02/1", SWEEP),
        ("2026-01-02/110000-gpt2-qwen-boolq-abcd3333", SWEEP),
        ("100000-gpt2", FIRST),
        ("100001-gpt2-qwen-sciq", PLAIN),
        ("09", SECOND),
        ("abcd3333", SWEEP),
        ("bbb", SECOND),
    ],
)
def test_a_run_is_named_by_its_path_a_beginning_its_digest_or_latest(root: Path, name: str, run: str) -> None:
    assert find_run(root, name) == root / run


def test_a_path_names_a_run_of_another_outputs_folder_too(root: Path, tmp_path: Path) -> None:
    os.rename(root, tmp_path / "moved")
    assert find_run(root, str(tmp_path / "moved" / FIRST)) == tmp_path / "moved" / FIRST


def test_commands_that_take_several_runs_take_all_that_a_name_fits(root: Path) -> None:
    assert find_runs(root, "2026-01-01") == [root / PLAIN, root / FIRST]
    assert find_runs(root, "outputs/runs") == [root / PLAIN, root / SECOND, root / FIRST]
    assert find_runs(root, "10000") == [root / PLAIN, root / FIRST]


@pytest.mark.parametrize("name", ["qwen", "empty", "333", "aaaa1112", "100000-gpt2-qwen-sciq-aaaa1111-more"])
def test_an_unknown_name_is_answered_with_the_runs_there_are(root: Path, name: str) -> None:
    with pytest.raises(UserError) as refused:
        find_run(root, name)
    said = str(refused.value)
    assert f'no run is called "{name}". The latest: 2026-01-01/100001-gpt2-qwen-sciq, ' in said
    assert "2026-01-01/100000-gpt2-qwen-sciq-aaaa1111." in said
    assert "by the beginning of its date, time or digest, or by latest" in said


def test_an_ambiguous_name_is_answered_with_the_candidates(root: Path) -> None:
    with pytest.raises(UserError) as refused:
        find_run(root, "2026-01-02")
    assert str(refused.value) == (
        '"2026-01-02" fits 2 runs: 2026-01-02/090000-gpt2-qwen-sciq-bbbb2222, 2026-01-02/110000-gpt2-qwen-boolq-abcd3333. '
        "Give more of the name."
    )


def test_without_any_run_the_answer_is_how_to_make_one(tmp_path: Path) -> None:
    for name, said in (("latest", "there is no run yet"), ("1000", 'no run is called "1000"')):
        with pytest.raises(UserError, match=f"{said}. w2s train makes one"):
            find_run(tmp_path, name)


COMMANDS = [["status"], ["table"], ["plot"], ["report"], ["diff", "latest"]]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_names_runs_by_this_rule(root: Path, capsys: Any, words: list[str]) -> None:
    assert dispatch([*words, "nowhere-1"]) == 2
    error = capsys.readouterr().err
    assert 'no run is called "nowhere-1"' in error
    assert error.count("\n") == 1
    if words[0] != "table":  # which takes several
        assert dispatch([*words, "2026-01-02"]) == 2
        assert '"2026-01-02" fits 2 runs' in capsys.readouterr().err


def test_load_takes_a_path_a_name_or_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = {"data": "sciq", "weak": "gpt2", "strong": "qwen", "loss": "xent", "seed": 0, "levels": (0.6, 0.7, 0.9)}
    folder = store_run(tmp_path / "outputs", [one], name="100000-a-11111111")
    for name in (folder, "100000", "11111111", "latest"):
        (row,) = w2s_cli.load(name)
        assert row["data"] == "sciq"
        assert "run" not in row
    assert w2s_cli.load("outputs")[0]["run"] == folder.name


def made_older(folder: Path) -> Path:
    """The files of a run as an older w2s wrote them: bare lists, results that know neither words nor family."""
    for name, content in (("results.json", "entries"), ("plan.json", "stages")):
        listed = json.loads((folder / name).read_text())[content]
        for one in listed:
            one.pop("words", None)
            one.pop("family", None)
        (folder / name).write_text(json.dumps(listed))
    return folder


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder with one run of an older w2s, and one of this."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    one = {"data": "sciq", "weak": "gpt2", "strong": "qwen", "loss": "xent", "seed": 0, "levels": (0.6, 0.7, 0.9)}
    made_older(store_run(outputs, [one], name="100000-old-11111111"))
    store_run(outputs, [{**one, "data": "boolq"}], name="110000-new-22222222")
    return outputs


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_run_of_an_older_w2s_is_recognised_and_never_read(older: Path, capsys: Any, words: list[str]) -> None:
    assert dispatch([*words, "11111111"]) == 2
    error = capsys.readouterr().err
    told = "2026-01-01/100000-old-11111111 was made by an older w2s: run the command again, or remove it with w2s gc"
    assert told in error
    with pytest.raises(UserError, match=re.escape(told)):
        w2s_cli.load("11111111")


def test_a_table_of_everything_leaves_older_runs_out_and_says_so(older: Path, capsys: Any) -> None:
    assert dispatch(["table", "format=json"]) == 0
    printed = capsys.readouterr()
    assert {cell["data"] for cell in json.loads(printed.out)["cells"]} == {"boolq"}
    assert printed.err.startswith("1 run is left out, made by an older w2s: run the command again")
    assert [row["data"] for row in w2s_cli.load(older)] == ["boolq"]
    assert capsys.readouterr().err.count("left out") == 1


def test_gc_removes_runs_of_an_older_w2s_and_no_others(older: Path, capsys: Any) -> None:
    assert dispatch(["gc"]) == 0
    listed = capsys.readouterr().out
    assert "runs/2026-01-01/100000-old-11111111" in listed
    assert "110000-new" not in listed
    assert dispatch(["gc", "--yes"]) == 0
    assert [path.name for path in run_folders(older)] == ["110000-new-22222222"]


def test_a_path_that_does_not_exist_is_no_outputs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="elsewhere does not exist; name an outputs folder"):
        w2s_cli.load(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["outputs2", "elsewhere/outputs", "/nowhere/at/all"])
def test_a_path_that_does_not_exist_beside_an_outputs_folder_is_said_to_be_missing(root: Path, name: str) -> None:
    missing = re.escape(f"there is no folder {root.parent / name}")
    with pytest.raises(UserError, match=missing):
        w2s_cli.load(name)
    (root.parent / "outputs2").mkdir()  # a folder, and no run
    with pytest.raises(UserError, match='no run is called "outputs2"\\.'):
        w2s_cli.load("outputs2")


def test_nothing_names_no_run_also_inside_of_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / FIRST)
    assert [whole_run(root, name) for name in ("", ".", "/", "./")] == [None] * 4
    assert whole_run(root, str(root / FIRST)) == root / FIRST
