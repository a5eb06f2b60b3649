"""Grading itself: failures and long readings are outcomes of their own, empty answers agree with nothing, own graders are found."""

import threading
import time
from pathlib import Path

import pytest

from w2s_cli import graders
from w2s_cli.errors import UserError
from w2s_cli.graders import Grade, Grader, Problem, load_grader, time_limit

PROBLEM = Problem("1 + 1 =", "2")
HEAD = "import time\nfrom w2s_cli.graders import Problem, Reading\n\n\ndef mine(text, problem, *, word: str = 'x'):\n"
FOREVER = "while True:\n        time.sleep(0.01)"


def own(folder: Path, body: str, more: str = "", **args: str) -> Grader:
    """The grader `mine` of a --config-dir folder, with this body."""
    (folder / "graders").mkdir(parents=True, exist_ok=True)
    (folder / "graders" / "mine.py").write_text(f"{HEAD}    {body}\n\n\n{more}\n")
    return load_grader({"name": "mine", "args": args}, [folder])


def test_a_grader_of_ones_own_is_found_with_its_arguments_before_that_of_the_package(tmp_path: Path) -> None:
    grader = own(tmp_path, "return Reading(text.partition(word)[2].strip() or None)", word="so")
    assert grader.grade("1 + 1, so 2", PROBLEM, "2") == Grade("2", "right", True)
    assert grader.grade("1 + 1, so 3", PROBLEM, "2").outcome == "wrong"
    assert grader.grade("1 + 1", PROBLEM, "2").outcome == "no answer"
    (tmp_path / "graders" / "exact.py").write_text(HEAD.replace("mine", "exact") + "    return Reading('same')\n")
    assert load_grader({"name": "exact", "args": {}}, [tmp_path]).grade("a", PROBLEM, "same").outcome == "right"


def test_an_own_grader_may_say_when_answers_are_equal_and_how_a_right_one_is_read(tmp_path: Path) -> None:
    more = (
        "def equal(value, answer, *, word='x'):\n    return value.startswith(answer)\n\n\n"
        "def answer(text, problem, *, word='x'):\n    return Reading(text[-1])\n"
    )
    grader = own(tmp_path, "return Reading(text)", more)
    assert grader.answer(Problem("", "it is 2")) == "2"
    assert grader.grade("2 or so", PROBLEM, "2").outcome == "right"
    assert grader.grade("about 2", PROBLEM, "2").outcome == "wrong"


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('boom')", "return Reading(text[10 ** 9])", "raise SystemExit(3)", "return mine(text, problem)"],
)
def test_a_grader_that_raises_is_an_error_and_not_a_wrong_answer(tmp_path: Path, body: str) -> None:
    assert own(tmp_path, body).grade("2", PROBLEM, "2") == Grade(None, "error", False)


def test_a_comparison_that_raises_is_an_error(tmp_path: Path) -> None:
    more = "def equal(value, answer, *, word='x'):\n    return value / answer\n"
    assert own(tmp_path, "return Reading(text)", more).grade("2", PROBLEM, "2").outcome == "error"


@pytest.mark.parametrize(
    "body",
    [
        FOREVER,
        f"try:\n        {FOREVER.replace('    ', '            ')}\n    except Exception:\n        return Reading('3')",
        "for _ in range(3):\n        try:\n            while True:\n                time.sleep(0.01)\n        except:\n            pass\n"
        "    while True:\n        time.sleep(0.01)",
    ],
    ids=["endless", "catches every Exception", "catches everything, three times"],
)
def test_a_reading_that_takes_too_long_is_a_time_out_and_not_a_wrong_answer(
    tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graders, "SECONDS", 0.1)
    monkeypatch.setattr(graders, "AGAIN", 0.1)
    assert own(tmp_path, body).grade("3", PROBLEM, "2") == Grade(None, "time-out", False)


def test_a_comparison_that_takes_too_long_is_a_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graders, "SECONDS", 0.1)
    more = f"def equal(value, answer, *, word='x'):\n    {FOREVER}\n"
    assert own(tmp_path, "return Reading(text)", more).grade("3", PROBLEM, "2").outcome == "time-out"


def test_a_regular_expression_that_explodes_is_a_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graders, "SECONDS", 0.1)
    grader = own(tmp_path, "import re; return Reading(re.match('(a+)+$', text)[0])")
    assert grader.grade("a" * 40 + "b", PROBLEM, "2").outcome == "time-out"


def test_the_limit_ends_with_the_reading_and_other_threads_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # a limit that went on would end the test
    seen = []

    def read() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
        seen.append(True)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert seen == [True]


@pytest.mark.parametrize("body", ["return Reading('')", "return Reading(None)"])
def test_an_empty_answer_is_none_and_agrees_with_nothing(tmp_path: Path, body: str) -> None:
    grader = own(tmp_path, body)
    assert grader.grade("", PROBLEM, "") == Grade(None, "no answer", False)
    with pytest.raises(UserError, match='the grader mine reads no answer in "2", the right answer to "1 \\+ 1 ="'):
        grader.answer(PROBLEM)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return '2'", "returns str, not a Reading"),
        ("return None", "returns NoneType"),
        ("return Reading(2)", "a Reading of type int"),
    ],
)
def test_a_grader_that_returns_no_reading_is_named(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        own(tmp_path, body).grade("2", PROBLEM, "2")
    assert str(tmp_path / "graders" / "mine.py") in str(refused.value)


def test_a_right_answer_that_the_grader_cannot_read_stops_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UserError, match=r'the grader mine, reading "2", the right answer to "1 \+ 1 =", failed: .*boom.*line 6'
    ):
        own(tmp_path, "raise ValueError('boom')").answer(PROBLEM)
    with pytest.raises(UserError, match=r"the grader mine, reading .* failed: SystemExit: 3 .*line 6"):
        own(tmp_path, "raise SystemExit(3)").answer(PROBLEM)
    monkeypatch.setattr(graders, "SECONDS", 0.1)
    with pytest.raises(UserError, match=r"the grader mine takes more than 0\.1 seconds to read"):
        own(tmp_path / "slow", FOREVER).answer(PROBLEM)


def test_a_grader_that_does_not_exist_or_was_edited_since_the_plan_is_refused(tmp_path: Path) -> None:
    own(tmp_path, "return Reading(text)")
    with pytest.raises(UserError, match=r'there is no "nunber" in graders/.*Did you mean "number"'):
        load_grader({"name": "nunber", "args": {}})
    with pytest.raises(UserError, match="was edited after this run was planned"):
        load_grader({"name": "mine", "args": {}, "code": "0"}, [tmp_path])
