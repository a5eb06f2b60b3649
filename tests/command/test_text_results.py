"""Results of graded answers: table, figures and page; and the score of an exam, which rules choose by."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import environment, write_jsonl
from tests.inside import run_inside
from tests.stage_files import context
from tests.unit.stages.test_few_shot_chat import BRACKETS, CHATML, chat_model
from w2s_cli.data.artifacts.completions import completions_table, write_completions
from w2s_cli.data.artifacts.rows import write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import exam
from w2s_cli.training.chat import digest
from w2s_cli.training.generation import vllm, writing
from w2s_cli.training.texts import as_prompts, open_format

Run = Callable[..., CompletedProcess[str]]
HOSTILE = "<script>alert('x')</script>"
METHOD = """name: judged
stages:
  weak_texts: {kind: generate, role: weak, model: "${weak}", rows: test, generation: {samples: 4, temperature: 1.0}}
  student_texts: {kind: generate, model: "${strong}", rows: test}
  truth: {kind: solutions, rows: test}
  weak_graded: {kind: grade, texts: weak_texts, rows: test}
  own_graded: {kind: grade, texts: student_texts, rows: test}
  truth_graded: {kind: grade, texts: truth, rows: test}
  taught: {kind: tune, role: weak, model: "${weak}", rows: strong_train, texts: lessons, tune: "${tune}"}
  lessons: {kind: solutions, rows: strong_train}
  exam: {kind: exam, student: taught, rows: test, texts: weak_texts, questions_from: strong_train, questions: 2}
  best: {kind: choose, rows: test, texts: [weak_texts], grades: [weak_graded], scores: [exam], rule: {name: by_score, args: {how: max}}}
  easy: {kind: choose, rows: test, texts: [truth], rule: {name: levels, args: {keep: ["1"]}}}
  pgr: {kind: evaluate_texts, floor: untuned, rows: test,
    weak: weak_graded, student: truth_graded, ceiling: truth_graded, untuned: own_graded}
"""
SYSTEM = "<|im_start|>system\nYou help.<|im_end|>\n" + CHATML  # as Qwen's, which begins every chat
NUMBERED = "{% for turn in messages %}{{ turn.content }}{% if loop.last %}{{ loop.index }}{% endif %}{% endfor %}"
PICKY = '''
"""picky: fails on one problem, and takes too long on another."""

from w2s_cli.graders import Problem, Reading, TimeLimitError


def picky(text: str, problem: Problem) -> Reading:
    """Any other text is right."""
    if problem.prompt == "ask 1":
        raise ValueError
    if problem.prompt == "ask 2":
        raise TimeLimitError
    return Reading("7")


def answer(text: str, problem: Problem) -> Reading:
    """As it stands."""
    return Reading(text)
'''
ASKED = ["ask 0", "ask 1", "ask 2"]
SHOWN = [("one?", "it is 1"), ("two? ", "it is 2")]  # of the rows of an exam, with their solutions
HARD = """name: hard
base: judged
stages:
  pgr_hard: {kind: evaluate_texts, without_levels: ["1"], rows: test, weak: weak_graded, student: truth_graded, ceiling: truth_graded}
"""


@pytest.fixture(scope="module")
def words(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with problems and two methods, and the words of a run there."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "mine/method").mkdir(parents=True)
    for name, text in (("judged", METHOD), ("hard", HARD)):
        (folder / f"mine/method/{name}.yaml").write_text(text, encoding="utf-8")
    rows = [
        {"asked": f"{HOSTILE} {at} is", "sum": str(at % 3), "said": f"it is {at % 3}", "hard": 1 + at % 2}
        for at in range(120)
    ]
    data = ["path=rows.jsonl", "prompt=asked", "answer=sum", "solution=said", "level=hard", "grader=number"]
    models = [word for role in ("weak", "strong") for word in (f"{role}=local", f"{role}.path={tiny_models[role]}")]
    write_jsonl(folder / "rows.jsonl", rows)
    given = ["--config-dir", "mine", "data=local", *(f"data.{word}" for word in data), *models]
    return folder, [*given, "generation.max_new_tokens=4", "tune.epochs=1", "bootstrap=200"]


@pytest.fixture(scope="module")
def judged(words: tuple[Path, list[str]]) -> tuple[Path, str]:
    """The folder of a finished run, and what it printed."""
    folder, given = words
    done = run_inside(["train", "method=judged", *given], folder, environment())
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def table(folder: Path, kind: str, name: str, part: str) -> list[dict[str, Any]]:
    for job in (folder / "outputs/stages" / kind).glob("*/stage.json"):
        if json.loads(job.read_text())["name"] == name:
            rows: list[dict[str, Any]] = pq.read_table(job.parent / "result" / f"{part}.parquet").to_pylist()
            return rows
    raise AssertionError(f"no stage {name}")


def test_the_table_has_every_role_its_form_and_the_ratio_from_the_named_floor(judged: tuple[Path, str]) -> None:
    printed = judged[1]
    head = next(line for line in printed.splitlines() if "well-formed" in line)
    assert all(word in head for word in ("accuracy", "cut", "tokens", "pass@4", "maj@4"))
    lines = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "1.000" in lines["student"]
    assert "RGR from untuned" in lines
    assert "student minus untuned" in lines
    assert lines["accuracy by level"].split() == ["accuracy", "by", "level", "1", "2"]


@pytest.mark.parametrize("kind", ["levels", "samples", "lengths", "accuracy"])
def test_every_figure_of_graded_answers_is_drawn(judged: tuple[Path, str], kind: str) -> None:
    done = run_inside(["plot", kind], judged[0], environment())
    assert done.returncode == 0, done.stderr
    drawn = judged[0] / done.stdout.strip().splitlines()[-1].split(": ")[-1]
    assert drawn.stat().st_size > 5000


def test_the_page_shows_texts_side_by_side_and_escapes_them(judged: tuple[Path, str]) -> None:
    done = run_inside(["report"], judged[0], environment())
    assert done.returncode == 0, done.stderr
    [file] = (judged[0] / "outputs/runs").glob("*/*/report.html")
    page = file.read_text(encoding="utf-8")
    assert "Sample texts" in page
    assert page.count("✓ it is") == 20  # ten rows, as student and as ceiling
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page


def test_an_exam_scores_every_solution_and_the_best_one_is_chosen(judged: tuple[Path, str]) -> None:
    folder = judged[0]
    scores = {(row["id"], row["sample"]): row["score"] for row in table(folder, "exam", "exam", "scores")}
    texts = table(folder, "generate", "weak_texts", "completions")
    assert set(scores) == {(row["id"], row["sample"]) for row in texts}
    assert {score * 2 for score in scores.values()} <= {0.0, 1.0, 2.0}  # of two questions
    by_text: dict[tuple[str, str], set[float]] = {}
    for row in texts:
        by_text.setdefault((row["id"], row["text"]), set()).add(scores[row["id"], row["sample"]])
    assert all(len(marks) == 1 for marks in by_text.values())  # one exam for equal solutions
    answered = {
        (r["id"], r["sample"]) for r in table(folder, "grade", "weak_graded", "grades") if r["answer"] is not None
    }
    for row in table(folder, "choose", "best", "examples"):
        own = [scores[name] for name in answered if name[0] == row["id"]]
        assert scores[row["id"], row["source_sample"]] == max(own)


def sit(
    folder: Path, template: str | None = None, shown: list[tuple[str, str]] = SHOWN, **changed: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The params of an exam of an untrained student on every question of `ASKED`, and its metrics."""
    code = folder / "mine" / "graders" / "picky.py"
    code.parent.mkdir(parents=True)
    code.write_text(PICKY, encoding="utf-8")
    chat_model(folder / "student" / "model", template)
    names = [f"r{at}" for at in range(len(shown))]
    for name, letter, prompts in (("rows", "r", [prompt for prompt, _ in shown]), ("questions", "q", ASKED)):
        ids = [f"{letter}{at}" for at in range(len(prompts))]
        (folder / name).mkdir()
        write_rows(folder / name, ids, ids, prompts, None, None, [{"prompt": text, "answer": "7"} for text in prompts])
    (folder / "texts").mkdir()
    said, one = [solution for _, solution in shown], [1] * len(shown)
    table = completions_table([(name, 0) for name in names], said, one, ["end"] * len(shown), [None] * len(shown))
    write_completions(folder / "texts", table)
    params = {
        "questions": len(ASKED), "samples": 1, "temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 4, "stop": [],
        "separator": "\n\n", "grader": {"name": "picky", "args": {}, "code": None}, "max_length": 256, "truncation": "left",
        "precision": "fp32", "seed": 0, "shard_texts": 512, **({"chat_template": digest(template)} if template else {}), **changed,
    }  # fmt: skip
    inputs: dict[str, Path | list[Path]] = {name: folder / name for name in ("rows", "texts", "questions")}
    ctx = context(folder / "out", device="cpu", threads=1, eval_tokens=256, folders=[str(folder / "mine")])
    return params, exam.run(params, {**inputs, "model": folder / "student"}, ctx)


def test_answers_without_a_verdict_are_counted_and_told_as_are_cut_prompts(tmp_path: Path) -> None:
    about = {"model": "gpt2", "role": "weak", "rows": "test"}
    params, metrics = sit(tmp_path / "whole")
    assert metrics["outcomes"] == {"error": 2, "right": 2, "time-out": 2}
    assert metrics["mean_score"] == pytest.approx(1 / 3)  # of three questions one
    [line] = exam.cautions(metrics, params, about)
    assert "the grader picky gave no verdict on 2 time-out, 2 error (answers of gpt2 in an exam on test)" in line
    params, metrics = sit(tmp_path / "cut", shown=[("long " * 60, "it is 1")])
    cut, _ = exam.cautions(metrics, params, about)
    assert "100% of the texts were cut to 252 tokens, the most that gpt2 reads (weak)" in cut
    assert exam.cautions({"truncated": {"rows": 0, "share": 0.0}}, params, about) == []  # of an older w2s


@pytest.mark.parametrize("template", [CHATML, BRACKETS, SYSTEM])
def test_an_exam_of_a_model_with_a_template_shows_the_solution_as_an_earlier_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    asked: list[str] = []

    def watched(params: dict[str, Any], folder: Path, problems: Any, *rest: Any) -> Any:
        asked.extend(problems.prompts)
        return written(params, folder, problems, *rest)

    written = writing.write_texts
    monkeypatch.setattr(writing, "write_texts", watched)
    sit(tmp_path, template)
    form = open_format(tmp_path / "student" / "model", digest(template), "left", "", trust_remote_code=False)
    heads, queries = as_prompts(form, asked, (), 256)
    read = [[*heads[0], *ids.tolist()] for ids in queries.ids]
    expected = []
    for problem, solution in SHOWN:
        for question in ASKED:
            said = (("user", problem.strip()), ("assistant", solution), ("user", question))
            chat = [{"role": role, "content": text} for role, text in said]
            printed = form.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            expected.append(form.tokenizer(printed, add_special_tokens=False)["input_ids"])
    assert sorted(read) == sorted(expected)


def test_a_template_that_prints_a_later_question_in_another_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"prints a question after a solution in another frame .*generation\.chat=false"
    ):
        sit(tmp_path, NUMBERED)


def test_an_exam_is_written_by_the_engine_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def instead(*given: Any) -> Any:
        calls.append("vllm")
        return writing.write_texts(*given)

    monkeypatch.setattr(vllm, "write_texts", instead)
    sit(tmp_path / "own")
    assert not calls
    sit(tmp_path / "other", engine="vllm")
    assert calls == ["vllm"]


def test_levels_choose_rows(judged: tuple[Path, str]) -> None:
    levels = {row["id"]: row["level"] for row in table(judged[0], "rows", "rows:test", "rows")}
    easy = {row["id"] for row in table(judged[0], "choose", "easy", "examples")}
    assert easy == {row for row, level in levels.items() if level == "1"}


@pytest.mark.slow
def test_a_comparison_can_leave_levels_out_and_then_has_the_figures_of_the_others(
    words: tuple[Path, list[str]],
) -> None:
    folder, given = words
    done = run_inside(["train", "method=hard", "outputs=other", *given], folder, environment())
    assert done.returncode == 0, done.stderr
    found = {
        json.loads(job.read_text())["name"]: job
        for job in (folder / "other/stages/evaluate_texts").glob("*/stage.json")
    }
    all_rows, hard = (
        json.loads((found[name].parent / "result/manifest.json").read_text())["metrics"] for name in ("pgr", "pgr_hard")
    )
    assert list(hard["levels"]) == ["2"]
    assert hard["levels"]["2"] == {
        name: all_rows["levels"]["2"][name] for name in ("rows", "weak", "student", "ceiling")
    }
    assert hard["rows"] == hard["levels"]["2"]["rows"] < all_rows["rows"]
    assert hard["weak"]["accuracy"] == pytest.approx(all_rows["levels"]["2"]["weak"])
    for command in ("report", "plot"):  # of two comparisons
        done = run_inside([command, "outputs=other"], folder, environment())
        assert done.returncode == 0, done.stderr
    [file] = (folder / "other/runs").glob("*/*/report.html")
    assert "pgr_hard" in file.read_text(encoding="utf-8")
    every = "method.stages.pgr_hard.without_levels=['1','2']"
    done = run_inside(["train", "method=hard", "outputs=other", *given, every], folder, environment())
    assert done.returncode == 2
    assert "test rows are of the levels 1, 2, which without_levels leaves out" in done.stderr
    assert "RGR from untuned" in done.stdout  # the comparison that did not fail


def test_levels_cannot_be_left_out_of_a_data_set_without_levels(words: tuple[Path, list[str]]) -> None:
    folder, given = words
    done = run_inside(["plan", "method=hard", "~method.stages.easy", *given, "data.level=null"], folder, environment())
    assert done.returncode == 2
    assert "level" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_figures_of_classifiers_say_that_texts_have_none(judged: tuple[Path, str]) -> None:
    for kind in ("calibration", "agreement"):
        said = run_inside(["plot", kind], judged[0], environment()).stderr
        assert "the results are of graded texts, which have no" in said
        assert "again" not in said


def test_two_runs_of_texts_have_a_paired_interval(words: tuple[Path, list[str]], judged: tuple[Path, str]) -> None:
    folder, given = words
    weak_from_weak = "method.stages.pgr.floor=weak"
    done = run_inside(["train", "method=judged", *given, weak_from_weak], folder, environment())
    assert done.returncode == 0, done.stderr
    [one, other] = sorted(path.name for path in (folder / "outputs/runs").glob("*/*") if path.name[0].isdigit())
    [result] = json.loads(run_inside(["diff", one, other, "--json"], folder, environment()).stdout)["results"]
    assert result["note"] is None
    student = result["difference"]["student"]
    assert (student["difference"], student["interval"]) == (0.0, [0.0, 0.0])
    assert "pgr" not in result["difference"]  # the gaps start from other floors
    assert result["difference"]["rows"] == len(table(folder, "rows", "rows:test", "rows"))
