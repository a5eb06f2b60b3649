"""Problems that a tiny model can learn in seconds, a method over them, and the words of its run."""

import random
from pathlib import Path

from tests.conftest import write_jsonl

METHOD = """
name: tiny_texts
stages:
  truth: {kind: solutions, rows: weak_train}
  weak: {kind: tune, role: weak, model: "${weak}", rows: weak_train, texts: truth, tune: "${tune}"}
  weak_texts: {kind: generate, role: weak, model: weak, rows: strong_train}
  weak_graded: {kind: grade, texts: weak_texts, rows: strong_train}
  student: {kind: tune, model: "${strong}", rows: strong_train, texts: weak_texts, tune: "${tune}"}
  own_texts: {kind: generate, model: student, rows: strong_train, generation: {temperature: 1.0, samples: 4}}
  own_graded: {kind: grade, texts: own_texts, rows: strong_train}
"""
BOTH = "rows: strong_train, texts: [weak_texts, own_texts], grades: [weak_graded, own_graded]"


def write_problems_file(path: Path, count: int = 120) -> Path:
    """Rows with a question, its answer and a solution: a digit to be said again."""
    drawn = random.Random(0)
    digits = [drawn.choice("123") for _ in range(count)]
    return write_jsonl(
        path,
        [
            {"id": f"r{at}", "question": f"say {digit}", "answer": digit, "solution": f"A: {digit}"}
            for at, digit in enumerate(digits)
        ],
    )


def words_of(tmp_path: Path, models: dict[str, Path], *stages: str) -> list[str]:
    """The words of a run of METHOD with further `stages`; files in `tmp_path`."""
    data = write_problems_file(tmp_path / "problems.jsonl")
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True, exist_ok=True)
    text = METHOD + "".join(f"  {stage}\n" for stage in stages)
    (folder / "method" / "tiny_texts.yaml").write_text(text, encoding="utf-8")
    return [
        *("--config-dir", str(folder), "method=tiny_texts"),
        *("weak=local", f"weak.path={models['weak']}", "strong=local", f"strong.path={models['strong']}"),
        *("data=local", f"data.path={data}", "data.id=id", "data.prompt='Q: {question}, A:'", "data.answer=answer"),
        *(
            "data.solution=solution",
            "data.grader=number",
            "weak.lr=1e-2",
            "strong.lr=1e-2",
            "tune.epochs=8",
            "weak.batch_size=4",
            "strong.batch_size=4",
        ),
        *("generation.max_new_tokens=12", "weak.max_length=64", "strong.max_length=64"),
    ]
