"""Choosing and pairing through the real command: each rule's artifact is what its grades say, and what leaves nothing is told in counts."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.command.test_wrong_commands import assert_refused
from tests.conftest import environment, once
from tests.inside import run_inside
from tests.stage_files import context
from tests.tiny_problems import BOTH, words_of
from tests.unit.training.generation.rows import write_problems
from w2s_cli.data.artifacts.completions import completions_table, read_completions, write_completions
from w2s_cli.data.artifacts.grades import read_graded, write_grades
from w2s_cli.data.artifacts.scores import write_scores
from w2s_cli.errors import UserError
from w2s_cli.graders import Grade
from w2s_cli.store.keys import ast_hash

Run = Callable[..., subprocess.CompletedProcess[str]]
OWN = "rows: strong_train, texts: [own_texts], grades: [own_graded]"
STAGES = (
    "wild_texts: {kind: generate, model: student, rows: strong_train, generation: {temperature: 5.0, samples: 6, top_k: 5}}",
    "wild_graded: {kind: grade, texts: wild_texts, rows: strong_train}",
    f"agreed: {{kind: choose, {BOTH.replace('own_', 'wild_')}, rule: {{name: agreement, args: {{keep: both}}}}}}",
    f"right: {{kind: choose, {OWN.replace('own_', 'wild_')}, rule: {{name: graded}}}}",
    f"half: {{kind: choose, {OWN.replace('own_', 'wild_')}, rule: {{name: errors, args: {{rate: 0.5}}}}}}",
    "tidied: {kind: choose, rows: strong_train, texts: [agreed], rule: {name: tidy, args: {longest: 2}}}",
    "shortest: {kind: choose, rows: strong_train, texts: [wild_texts], rule: {name: shortest, args: {most: 120}}}",
    f"pairs: {{kind: pair, {BOTH.replace('own_', 'wild_')}, rule: {{name: weak_side, args: {{low: 0.3, high: 0.5}}}}}}",
    "more: {kind: pair, rows: strong_train, texts: [wild_texts, truth_texts], rule: {name: ranked}, earlier: [pairs]}",
    "truth_texts: {kind: solutions, rows: strong_train}",
)
SHORTEST = '''
"""shortest: the shortest texts of all."""

from w2s_cli.choosing import Chosen, Place, Texts


def shortest(texts: Texts, *, most: int = 5) -> Chosen:
    """Own rules see what the others see."""
    [source] = texts.need(1, "any texts")
    assert source.right is None
    order = sorted(range(len(source.ids)), key=lambda at: (len(source.texts[at]), source.ids[at], source.samples[at]))
    return Chosen([Place(0, at) for at in order[:most]], {"longer": len(order) - most})
'''


def words(folder: Path, models: dict[str, Path], *stages: str) -> list[str]:
    made = words_of(folder, models, *STAGES, *stages)
    (folder / "mine" / "choosing").mkdir(exist_ok=True)
    (folder / "mine" / "choosing" / "shortest.py").write_text(SHORTEST)
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """The folder of a finished run of STAGES, and what it printed in `printed`."""

    def train(folder: Path) -> None:
        done = run_inside(["train", *words(folder, tiny_models)], folder, environment())
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "printed").write_text(done.stdout)

    return once(tmp_path_factory, "texts", train)


def result(folder: Path, stage: str) -> Path:
    """The result folder of a stage of the run."""
    [linked] = [
        link for link in (folder / "outputs" / "runs").glob("*/*/stages/*") if link.name.rpartition("-")[0] == stage
    ]
    return linked / "result"


def metrics(folder: Path, stage: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((result(folder, stage) / "manifest.json").read_text())["metrics"]
    return made


def answers(folder: Path, stage: str) -> dict[str, list[dict[str, Any]]]:
    """Row → its graded texts, in the order of samples."""
    rows: dict[str, list[dict[str, Any]]] = {}
    texts = pq.read_table(result(folder, stage.replace("graded", "texts")) / "completions.parquet")["text"].to_pylist()
    for text, row in zip(texts, pq.read_table(result(folder, stage) / "grades.parquet").to_pylist(), strict=True):
        rows.setdefault(row["id"], []).append({**row, "text": text})
    return rows


def examples(folder: Path, stage: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = pq.read_table(result(folder, stage) / "examples.parquet").to_pylist()
    return made


def test_agreement_is_that_of_the_first_answers(trained: Path) -> None:
    weak, wild = answers(trained, "weak_graded"), answers(trained, "wild_graded")
    expected = [
        (row, of["text"], source)
        for row in weak
        for of, source in ((weak[row][0], "weak_texts"), (wild[row][0], "wild_texts"))
        if weak[row][0]["answer"] is not None and weak[row][0]["answer"] == wild[row][0]["answer"]
    ]
    assert 0 < len(expected) < 2 * len(weak)
    assert [(row["id"], row["text"], row["source"]) for row in examples(trained, "agreed")] == expected
    told = metrics(trained, "agreed")
    assert (told["texts"], told["rows_chosen"], told["rows"]) == (len(expected), len(expected) // 2, len(weak))
    assert told["of_source"] == {"weak_texts": len(expected) // 2, "wild_texts": len(expected) // 2}
    assert told["left_out"]["agreed"] == len(expected) // 2


def test_graded_texts_are_the_right_ones_and_the_run_tells_that_truth_was_read(trained: Path) -> None:
    wild = answers(trained, "wild_graded")
    expected = [text["text"] for row in wild.values() for text in row if text["outcome"] == "right"]
    assert [row["text"] for row in examples(trained, "right")] == expected
    assert len(expected) > 5
    printed = (trained / "printed").read_text()
    for rule in ("graded", "errors"):
        assert f"The rule {rule} reads the ground truth of strong_train: a control or an arm of a comparison" in printed
    assert "The rule agreement" not in printed


def test_half_of_the_rows_have_a_wrong_solution(trained: Path) -> None:
    wild = answers(trained, "wild_graded")
    both = {row for row, texts in wild.items() if {"right", "wrong"} <= {text["outcome"] for text in texts}}
    outcome = {(row, text["sample"]): text["outcome"] for row, texts in wild.items() for text in texts}
    chosen = [(row["id"], outcome[row["id"], row["source_sample"]]) for row in examples(trained, "half")]
    assert {row for row, _ in chosen} == both
    assert len(chosen) == len(both) > 3
    assert sum(found == "wrong" for _, found in chosen) == round(len(both) / 2)


def test_chosen_texts_and_own_rules_are_sources_like_others(trained: Path) -> None:
    short = [row["text"] for row in examples(trained, "agreed") if row["tokens"] <= 2]  # of the model that wrote them
    assert [row["text"] for row in examples(trained, "tidied")] == short
    assert metrics(trained, "tidied")["of_source"] == {"agreed": len(examples(trained, "tidied"))}
    kept = examples(trained, "shortest")
    wild = read_completions(result(trained, "wild_texts"))
    empty = sum(not text for text in wild.texts)
    assert len(kept) == 120 - empty
    assert metrics(trained, "shortest")["left_out"] == {"longer": len(wild.ids) - 120, "empty texts": empty}
    assert max(len(row["text"]) for row in kept) <= sorted(map(len, wild.texts))[119]


def test_pairs_have_the_weak_text_on_one_side_and_earlier_pairs_come_last(trained: Path) -> None:
    weak, wild = answers(trained, "weak_graded"), answers(trained, "wild_graded")
    pairs = pq.read_table(result(trained, "pairs") / "pairs.parquet").to_pylist()
    assert pairs
    for pair in pairs:
        row = pair["id"]
        said = [text["answer"] for text in wild[row]]
        given = [answer for answer in said if answer is not None]
        modal = max(dict.fromkeys(given), key=given.count)
        side = "chosen" if weak[row][0]["answer"] == modal else "rejected"
        other = "rejected" if side == "chosen" else "chosen"
        assert pair[side] == weak[row][0]["text"]
        assert pair[f"{side}_source"] == "weak_texts"
        assert (wild[row][pair[f"{other}_sample"]]["answer"] == modal) == (other == "chosen")
        assert given.count(modal) / len(said) >= (0.3 if side == "chosen" else 0.5)
    more = pq.read_table(result(trained, "more") / "pairs.parquet").to_pylist()
    told = metrics(trained, "more")
    assert (told["earlier"], told["pairs"]) == (len(pairs), len(more))
    assert [(pair["chosen"], pair["rejected"]) for pair in more[-len(pairs) :]] == [
        (pair["chosen"], pair["rejected"]) for pair in pairs
    ]
    places = {row: at for at, row in enumerate(weak)}
    own = [places[pair["id"]] for pair in more[: -len(pairs)]]
    assert own == sorted(own)


NOTHING = {
    "no agreed row": (
        "none: {kind: choose, rows: strong_train, texts: [right, right], rule: {name: agreement}}",
        ['name a grade stage for "right"'],
    ),
    "no sure row": (
        "none: {kind: pair, rows: strong_train, texts: [weak_texts, own_texts], grades: [weak_graded, own_graded], "
        "rule: {name: weak_side, args: {low: 1.0, high: 1.0, most: 1}}}",
        ["the rule weak_side leaves no pair of", "weak chosen 0, weak rejected 0, ", "too easy", "Loosen it"],
    ),
    "equal texts": (
        "none: {kind: pair, rows: strong_train, texts: [weak_texts, weak_texts], rule: {name: ranked}}",
        ["the rule ranked leaves no pair of", "(equal "],
    ),
    "no score": (
        "none: {kind: pair, rows: strong_train, texts: [own_texts], grades: [own_graded], rule: {name: scored}}",
        ['this rule compares scores: name a score stage for "own_texts"'],
    ),
    "no sample but one": (
        "none: {kind: pair, rows: strong_train, texts: [weak_texts], rule: {name: ranked, args: {order: tied}}}",
        ["order=tied compares two samples of the first source, and it has one for each row: give it samples ≥ 2"],
    ),
    "too many words": (
        "none: {kind: choose, rows: strong_train, texts: [weak_texts], rule: {name: tidy, args: {shortest: 12}}}",
        ["the rule tidy leaves no text of", "too short ", "empty texts 0"],
    ),
    "grades of other texts": (
        "none: {kind: choose, rows: strong_train, texts: [wild_texts], grades: [weak_graded], rule: {name: graded}}",
        ["grades other texts than those of"],
    ),
    "texts of other rows": (
        "none: {kind: choose, rows: weak_train, texts: [weak_texts], rule: {name: union}}",
        ["has a text of row", "which is no row of"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTHING)
def test_what_leaves_nothing_or_cannot_be_chosen_from_is_told(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path], trained: Path, case: str
) -> None:
    shutil.copytree(trained / "outputs", tmp_path / "outputs", symlinks=True)
    stage, said = NOTHING[case]
    done = w2s_inside("train", *words(tmp_path, tiny_models, stage), code=None)
    assert done.returncode != 0
    for phrase in said:
        assert phrase in done.stderr + done.stdout, done.stderr
    assert "Traceback" not in done.stderr + done.stdout


BROKEN = {
    "returns a list": ("return []", "returns list, not Chosen"),
    "raises": ("return 1 / 0", "ZeroDivisionError"),
    "a text that is not there": (
        "return Chosen([Place(0, 0), Place(0, 99999)])",
        r'broken\.py: broken returns Place\(source=0, at=99999\), and the texts of its source "weak" are numbered 0 to 3',
    ),
    "a text before the first": ("return Chosen([Place(0, -1)])", "at=-1"),
    "a source that is not there": ("return Chosen([Place(1, 0)])", "and the stage's sources are numbered 0 to 0"),
    "no place": ("return Chosen([3])", r"broken returns 3, which is not a Place\(source, at\)"),
    "needs the truth": ("return texts.sources[0].need_right()", "NEEDS_TRUTH = True"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_own_rule_that_fails_is_told_with_its_file(tmp_path: Path, case: str) -> None:
    from w2s_cli.stages import choose

    body, said = BROKEN[case]
    code = tmp_path / "mine" / "choosing" / "broken.py"
    code.parent.mkdir(parents=True)
    code.write_text(f"from w2s_cli.choosing import Chosen, Place\n\n\ndef broken(texts):\n    {body}\n")
    inputs = sources(tmp_path)
    params = {"rule": {"name": "broken", "args": {}, "code": ast_hash(code)}, "sources": ["weak"], "seed": 0}
    with pytest.raises(UserError, match=said):
        choose.run(params, inputs, context(tmp_path / "out", folders=[str(tmp_path / "mine")]))
    code.write_text(code.read_text() + "\nx = 1\n")
    with pytest.raises(UserError, match="was edited after this run was planned"):
        choose.run(params, inputs, context(tmp_path / "out", folders=[str(tmp_path / "mine")]))


def sources(folder: Path, answers: tuple[str | None, ...] = ("1", None, "", "2")) -> dict[str, Path | list[Path]]:
    """The inputs of a stage over texts of four rows, of which each has one."""
    rows = write_problems(folder / "rows", [f"q{number}" for number in range(4)])
    for name in ("weak", "graded"):
        (folder / name).mkdir(exist_ok=True)
    names = [(f"r{number}", 0) for number in range(4)]
    write_completions(folder / "weak", completions_table(names, ["a", "", "c", "d"], [1] * 4, ["end"] * 4, [None] * 4))
    grades = [Grade(answer, "wrong", True) for answer in answers]
    write_grades(folder / "graded", read_completions(folder / "weak"), grades)
    return {"rows": rows, "texts": [folder / "weak"], "grades": [folder / "graded"]}


def test_an_empty_answer_is_none_and_an_empty_text_is_never_chosen(tmp_path: Path) -> None:
    from w2s_cli.stages import choose

    inputs = sources(tmp_path)
    twice: dict[str, Any] = {name: value if name == "rows" else 2 * value for name, value in inputs.items()}  # type: ignore[operator]
    rule = {"name": "agreement", "args": {"keep": "first"}, "code": None}
    ctx = context(tmp_path / "out")
    told = choose.run({"rule": rule, "sources": ["weak", "own"], "seed": 0}, twice, ctx)
    assert read_completions(ctx.result).ids == ["r0", "r3"]
    assert told["left_out"] == {"compared": 4, "agreed": 2, "without an answer": 2, "empty texts": 0}
    every = choose.run(
        {"rule": {"name": "union", "args": {}, "code": None}, "sources": ["weak"], "seed": 0},
        inputs,
        context(tmp_path / "all"),
    )
    assert (every["texts"], every["left_out"]) == (3, {"repeated": 0, "empty texts": 1})


@pytest.mark.parametrize("rule", [("by_score", "max"), ("by_score", "sum"), ("self_consistency", None)])
def test_rows_without_an_answer_or_without_a_word_keep_a_text_that_is_graded(
    tmp_path: Path, rule: tuple[str, str | None]
) -> None:
    from w2s_cli.stages import choose, grade

    rows = write_problems(tmp_path / "rows", ["q0", "q1", "q2"], answer=["7", "8", "9"])
    for name in ("own", "graded", "exam"):
        (tmp_path / name).mkdir()
    names = [(f"r{row}", sample) for row in range(3) for sample in range(2)]
    said = ["it is 7", "7", "no", "none", "", ""]
    write_completions(tmp_path / "own", completions_table(names, said, [1] * 6, ["end"] * 6, [None] * 6))
    grades = [Grade(answer, "wrong", True) for answer in ("7", "7", None, None, None, None)]
    write_grades(tmp_path / "graded", read_completions(tmp_path / "own"), grades)
    write_scores(tmp_path / "exam", [row for row, _ in names], [sample for _, sample in names], np.array([0.5] * 6))
    inputs: dict[str, Path | list[Path]] = {
        "rows": rows, "texts": [tmp_path / "own"], "grades": [tmp_path / "graded"], "scores": [tmp_path / "exam"],
    }  # fmt: skip
    args = {"how": rule[1]} if rule[1] else {}

    def chosen(folder: str, **more: Any) -> tuple[Path, dict[str, Any]]:
        ctx = context(tmp_path / folder)
        given = {"rule": {"name": rule[0], "args": {**args, **more}, "code": None}, "sources": ["own"], "seed": 0}
        return ctx.result, choose.run(given, inputs, ctx)

    kept, told = chosen("test", every_row=True)
    assert read_completions(kept).texts == ["it is 7", "no", ""]
    assert not any(told["left_out"].values())
    marked = context(tmp_path / "marked")
    grade.run({"grader": {"name": "number", "args": {}, "code": None}}, {"texts": kept, "rows": rows}, marked)
    assert read_graded(marked.result, ["r0", "r1", "r2"]).right.tolist() == [[True], [False], [False]]
    learned, told = chosen("training")
    assert (read_completions(learned).ids, told["left_out"]["without an answer"]) == (["r0"], 2)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("PairOf(Place(0, 0), Place(0, 2))", "a pair needs two different texts of one row, and one of row r0 has not"),
        ("PairOf(Place(0, 3), Place(0, 3))", "a pair needs two different texts of one row, and one of row r3 has not"),
        ("PairOf(Place(0, 3), Place(0, 4))", r'at=4\), and the texts of its source "weak" are'),
    ],
)
def test_a_pair_of_two_rows_or_of_one_text_is_refused(tmp_path: Path, pair: str, said: str) -> None:
    from w2s_cli.stages import pair as stage

    code = tmp_path / "mine" / "pairing" / "broken.py"
    code.parent.mkdir(parents=True)
    imports = "from w2s_cli.choosing import Place\nfrom w2s_cli.pairing import Paired, PairOf\n"
    code.write_text(f"{imports}\n\ndef broken(texts):\n    return Paired([{pair}])\n")
    params = {"rule": {"name": "broken", "args": {}, "code": ast_hash(code)}, "sources": ["weak"], "seed": 0}
    with pytest.raises(UserError, match=said):
        stage.run(params, sources(tmp_path), context(tmp_path / "out", folders=[str(tmp_path / "mine")]))


def test_a_rule_over_no_texts_is_refused_at_planning(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    stage = "none: {kind: choose, rows: strong_train, texts: [], rule: {name: union}}"
    said = w2s_inside("plan", *words(tmp_path, tiny_models, stage), code=2).stderr
    assert 'stage "none": texts names no stage; name at least one' in said


def test_own_rules_are_planned_by_their_code(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path], trained: Path
) -> None:
    shutil.copytree(trained / "outputs", tmp_path / "outputs", symlinks=True)
    given = words(tmp_path, tiny_models)
    assert " 0 to run" in w2s_inside("plan", *given).stdout
    code = tmp_path / "mine" / "choosing" / "shortest.py"
    code.write_text(code.read_text().replace("order[:most]", "order[: most - 1]"))
    lines = w2s_inside("plan", *given).stdout.splitlines()
    assert [line.split()[0] for line in lines if re.search(r"[0-9a-f]{12} +to run$", line)] == ["shortest"]
    code.write_text("x = 1\n")
    assert_refused(w2s_inside("plan", *given, code=None), "shortest.py", "defines no function shortest")
