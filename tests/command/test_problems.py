"""Data sets of problems on the command line: what `w2s data check` prints, and which methods refuse them."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import write_jsonl

Run = Callable[..., subprocess.CompletedProcess[str]]

CLASSIFIERS = [
    *(
        "naive",
        "few_shot",
        "ensemble",
        "selection",
        "probing",
        "generative_finetuning",
        "abstention",
        "strong_to_strong",
    ),
    *("baselines", "co_supervised", "ensemw2s", "weighted_ensemble", "bootstrapping"),
]


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    """Own problems, as words of a command."""
    rows = [{"question": f"{i} + 1 =", "answer": f"{i + 1}", "step": 1 + i % 12} for i in range(300)]
    write_jsonl(tmp_path / "my.jsonl", [*rows, {"question": "1 + 1 =", "answer": None, "step": 1}])
    return ["data=local", "data.path=my.jsonl", "data.prompt=question", "data.answer=answer"]


@pytest.mark.slow
def test_data_check_of_the_bundled_problems_shows_levels_and_no_classes(w2s_inside: Run) -> None:
    shown = w2s_inside(
        "data", "check", "data=arithmetic", "weak.max_length=64", "strong.max_length=64", code=None
    ).stdout
    assert "test          2,400  2,400  -" in shown
    assert "rows of level    1    2    3    4    5    6" in shown
    assert "test           400  400  400  400  400  400" in shown
    assert "no duplicates, no group in two pools" in shown
    for word in ("class", "base rate", "bag of words", "words alone"):
        assert word not in shown, word


def test_data_check_counts_what_is_left_out_and_sorts_levels_as_numbers(w2s_inside: Run, mine: list[str]) -> None:
    shown = w2s_inside("data", "check", *mine, "data.level=step", code=None).stdout
    assert "1 without an answer (column answer)" in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("rows of level"))
    assert line.split()[3:] == [str(number) for number in range(1, 13)]


def test_data_check_finds_right_answers_that_the_grader_cannot_read(w2s_inside: Run, tmp_path: Path) -> None:
    rows = [{"question": f"{i} + 1 =", "answer": "many" if i % 30 == 7 else f"{i + 1}"} for i in range(300)]
    write_jsonl(tmp_path / "my.jsonl", rows)
    words = ["data=local", "data.path=my.jsonl", "data.prompt=question", "data.answer=answer"]
    shown = w2s_inside("data", "check", *words, "data.grader=number", code=2).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("PROBLEM"))
    assert line.startswith(
        "PROBLEM: the grader number reads no answer in 10 of 300 right answers (data.answer), first in row train-"
    )
    assert '"many" to "' in line
    assert "no problems found" in w2s_inside("data", "check", *words, "data.grader=number", "grader=exact").stdout
    own = [*words, "data.grader=nothing_such"]
    assert "note: the right answers were not read: there is no" in w2s_inside("data", "check", *own, code=None).stdout


def test_an_answer_that_is_not_a_number_in_a_table_is_missing(w2s_inside: Run, tmp_path: Path) -> None:
    rows = [{"question": f"{i} + 1 =", "answer": float("nan") if i % 30 == 7 else i + 1} for i in range(300)]
    write_jsonl(tmp_path / "my.jsonl", rows)
    words = ["data=local", "data.path=my.jsonl", "data.prompt=question", "data.answer=answer", "data.grader=number"]
    shown = w2s_inside("data", "check", *words).stdout
    assert sum(int(part.split()[0]) for part in re.findall(r"\d+ without an answer", shown)) == 10
    assert "no problems found" in shown


@pytest.mark.parametrize("method", CLASSIFIERS)
def test_methods_of_classifiers_refuse_problems(w2s_inside: Run, method: str) -> None:
    ladder = ["ladder=[wordnet-s]"] if method == "bootstrapping" else []
    said = w2s_inside("plan", "data=arithmetic", f"method={method}", *ladder, code=2).stderr
    assert "classifies texts, and data=arithmetic has problems whose answers are texts (data.prompt)" in said
    assert "use a method for texts" in said


def test_a_method_for_texts_asks_for_the_parts_that_it_needs(w2s_inside: Run, mine: list[str]) -> None:
    assert "grade" in w2s_inside("plan", "method=zero_shot", "strong=arithmetic-l", "grader=number", *mine).stdout
    said = w2s_inside("plan", "method=zero_shot", "strong=arithmetic-l", *mine, code=2).stderr
    assert "which rule reads the answers of data=local? Choose one, grader=number" in said
    said = w2s_inside("plan", "method=zero_shot", "strong=arithmetic-l", "grader=number", *mine[:-1], code=2).stderr
    assert "needs the answer of each problem, and data=local names none: data.answer=COLUMN" in said
    said = w2s_inside("plan", "method=w2s_reasoning", "grader=number", *mine, code=2).stderr
    assert "needs the solution of each problem" in said
    assert (
        "needs the prompt of each problem, and data=wordnet_living names none"
        in w2s_inside("plan", "method=zero_shot", code=2).stderr
    )


def test_the_test_problems_of_math_can_be_measured_and_not_learned(w2s_inside: Run, tmp_path: Path) -> None:
    row = {"problem": "1+1?", "solution": "\\boxed{2}", "answer": "2", "level": 1, "unique_id": "test/a/1.json"}
    (tmp_path / "math").mkdir()
    for split in ("train", "test"):
        write_jsonl(tmp_path / "math" / f"{split}.jsonl", [{**row, "unique_id": f"{split}/{n}"} for n in range(20)])
    words = ["data=math500", "data.path=math", "weak=arithmetic-s", "strong=arithmetic-l"]
    assert "math500 test" in w2s_inside("plan", "method=zero_shot", *words[:2], "strong=arithmetic-l").stdout
    said = w2s_inside("plan", "method=w2s_reasoning", *words, code=2).stderr
    assert 'data set "math500": the pool weak_train gets no rows' in said
    splits = "data.splits={train:train,test:test}"  # as in the recipe's comment
    pools = "data.pools={weak_train:0.3,weak_val:0.05,strong_val:0.15,strong_train:0.5}"
    assert "math500 weak_train" in w2s_inside("plan", "method=w2s_reasoning", *words, splits, pools).stdout


def keys_of(plan: str) -> dict[str, str]:
    """Kind → key of the stages that `w2s plan` printed."""
    return dict(re.findall(r"^\S+ +(\w+) .* ([0-9a-f]{12}) ", plan, re.MULTILINE))


def test_a_grader_of_ones_own_is_planned_by_its_code(w2s_inside: Run, mine: list[str], tmp_path: Path) -> None:
    (tmp_path / "own" / "graders").mkdir(parents=True)
    (tmp_path / "own" / "grader").mkdir()
    code = "from w2s_cli.graders import Reading\n\n\ndef mine(text, problem, *, last: bool = False):\n    return Reading(text)\n"
    (tmp_path / "own" / "graders" / "mine.py").write_text(code)
    (tmp_path / "own" / "grader" / "mine.yaml").write_text("name: mine\nargs: {last: true}\n")
    words = ["--config-dir", "own", "method=zero_shot", "strong=arithmetic-l", *mine, "grader=mine"]
    before = w2s_inside("plan", *words).stdout
    assert "mine" in before
    assert "last" in w2s_inside("plan", *words, "+grader.args.first=true", code=2).stderr
    (tmp_path / "own" / "graders" / "mine.py").write_text(code.replace("Reading(text)", "Reading(text.strip())"))
    after = w2s_inside("plan", *words).stdout
    assert keys_of(before).keys() == keys_of(after).keys()
    assert [kind for kind, key in keys_of(after).items() if key != keys_of(before)[kind]] == ["grade"]  # the texts stay


def test_a_package_that_is_missing_is_told_before_anything_runs(
    w2s_inside: Run, mine: list[str], tmp_path: Path
) -> None:
    (tmp_path / "own" / "graders").mkdir(parents=True)
    (tmp_path / "own" / "grader").mkdir()
    (tmp_path / "own" / "grader" / "mine.yaml").write_text("name: mine\n")
    code = "from w2s_cli.graders import Reading\n\n\ndef mine(text, problem):\n    import w2s_absent\n    return Reading(text)\n"
    (tmp_path / "own" / "graders" / "mine.py").write_text(code)
    zero_shot = ["--config-dir", "own", "method=zero_shot", "strong=arithmetic-l", *mine]
    assert "mine" in w2s_inside("plan", *zero_shot, "grader=mine").stdout  # the run may be on another machine
    said = w2s_inside("train", *zero_shot, "grader=mine", code=2).stderr
    assert "graders/mine.py imports w2s_absent, which is not installed: install its package" in said
    assert not list((tmp_path / "outputs").glob("stages/*"))
    said = w2s_inside("train", *zero_shot, "grader=number", "generation.engine=vllm", code=2).stderr
    assert re.search(
        r'generation\.engine=vllm needs the package vllm, which is not installed: pip install "vllm"', said
    )
