"""The stage grade on files: examples of texts without an answer are kept, and right answers that cannot be read are counted."""

from pathlib import Path
from typing import Any

import pytest

from tests.stage_files import context
from w2s_cli.data.artifacts.completions import completions_table, write_completions
from w2s_cli.data.artifacts.rows import write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import grade

NUMBER: dict[str, Any] = {"grader": {"name": "number", "args": {}, "code": None}}


def sources(folder: Path, answers: list[str], texts: list[str]) -> dict[str, Path | list[Path]]:
    """A row with each answer, and a text of each row."""
    names = [f"r{at}" for at in range(len(answers))]
    for name in ("rows", "texts"):
        (folder / name).mkdir()
    prompts = [f"q{at}" for at in range(len(answers))]
    problems = [{"prompt": prompt, "answer": answer} for prompt, answer in zip(prompts, answers, strict=True)]
    write_rows(folder / "rows", names, names, prompts, None, None, problems)
    count = len(texts)
    table = completions_table([(name, 0) for name in names], texts, [1] * count, ["end"] * count, [None] * count)
    write_completions(folder / "texts", table)
    return {"rows": folder / "rows", "texts": folder / "texts"}


def test_the_record_has_examples_of_texts_without_an_answer_and_the_caution_says_where(tmp_path: Path) -> None:
    texts = ["no\nidea", "none", "x" * 90, "it is not said", "I pass"]
    ctx = context(tmp_path / "out")
    metrics = grade.run(NUMBER, sources(tmp_path, ["1"] * 5, texts), ctx)
    assert ctx.measured["without_answer"] == ["no idea", "none", f"{'x' * 60}…"]
    [line] = grade.cautions(metrics, {}, {"grader": "number", "texts": "weak_texts"})
    assert "w2s show KEY has examples" in line
    ctx = context(tmp_path / "read")
    (tmp_path / "second").mkdir()
    grade.run(NUMBER, sources(tmp_path / "second", ["1"], ["2"]), ctx)
    assert "without_answer" not in ctx.measured


def test_right_answers_that_the_grader_cannot_read_are_counted_with_the_first_row(tmp_path: Path) -> None:
    inputs = sources(tmp_path, ["1", "many", "3", "few"], ["1"] * 4)
    said = r'reads no answer in 2 of 4 right answers \(data\.answer\), first in row r1: "many" to "q1"'
    with pytest.raises(UserError, match=said):
        grade.run(NUMBER, inputs, context(tmp_path / "out"))
