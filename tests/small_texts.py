"""A tiny task whose answers are texts, and a method with every kind of stage for texts, in seconds."""

import random
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT, write_jsonl

PAIRS = """truth: {kind: solutions, rows: strong_train}
  own: {kind: generate, model: "${strong}", rows: strong_train}
  pairs: {kind: pair, rows: strong_train, texts: [truth, own], rule: {name: ranked}}"""
SFT = """truth: {kind: solutions, rows: strong_train}
  sft: {kind: tune, model: "${strong}", rows: strong_train, texts: truth, tune: "${tune}"}"""
# a chain, so that a test which kills the stages in its order finds each of them still to do
EVERY_KIND = """truth: {kind: solutions, rows: strong_train}
  own: {kind: generate, model: "${strong}", rows: strong_train}
  chosen: {kind: choose, rows: strong_train, texts: [truth], rule: {name: union}}
  sft: {kind: tune, model: "${strong}", rows: strong_train, texts: chosen, tune: "${tune}"}
  pairs: {kind: pair, rows: strong_train, texts: [chosen, own], rule: {name: ranked}}
  reference: {kind: score, model: sft, rows: strong_train, pairs: pairs}
  student: {kind: tune, model: sft, rows: strong_train, pairs: pairs, reference: reference, objective: {name: dpo, args: {}}}
  test: {kind: generate, model: student, rows: test}
  graded: {kind: grade, texts: test, rows: test}
  pgr: {kind: evaluate_texts, rows: test, student: graded}"""


def methods() -> set[str]:
    """The methods whose students learn from texts, or write them (tests/command/test_text_methods.py runs them)."""
    files = (ROOT / "configs" / "method").glob("*.yaml")
    return {path.stem for path in files if "kind: generate," in path.read_text(encoding="utf-8")}


def write_method(folder: Path, stages: str, name: str = "small") -> Path:
    """The --config-dir folder of a method with these stages."""
    (folder / "method").mkdir(parents=True, exist_ok=True)
    (folder / "method" / f"{name}.yaml").write_text(f"name: {name}\nstages:\n  {stages}\n", encoding="utf-8")
    return folder


def words(folder: Path, models: Mapping[str, Path], stages: str, rows: int = 80) -> list[str]:
    """Overrides of a command with the method `stages`: sums as texts, the tiny Llama, two passes."""
    drawn = random.Random(0)
    sums = [(drawn.randrange(9), drawn.randrange(9)) for _ in range(rows)]
    data = [
        {"id": f"r{at}", "asked": f"{a} plus {b} is", "sum": str(a + b), "said": f"{a} and {b} make {a + b}"}
        for at, (a, b) in enumerate(sums)
    ]
    path = write_jsonl(folder / "sums.jsonl", data)
    trainings = [line for line in stages.split("\n") if "kind: tune" in line]
    return [
        *("--config-dir", str(write_method(folder / "mine", stages)), "method=small"),
        *("strong=local", f"strong.path={models['strong']}", "strong.lr=5e-3", "strong.batch_size=8"),
        *(
            "data=local",
            f"data.path={path}",
            "data.prompt=asked",
            "data.answer=sum",
            "data.solution=said",
            "data.id=id",
        ),
        *(["tune.epochs=2"] if any("texts:" in line for line in trainings) else []),
        *(["preference.epochs=2", "preference.lr_scale=1"] if any("pairs:" in line for line in trainings) else []),
        *(["generation.max_new_tokens=6"] if "kind: generate" in stages else []),
        *(["data.grader=number", "bootstrap=200"] if "kind: grade" in stages else []),
    ]
