"""The grader number against the verdicts of authors on 25,871 real outputs of GSM8K; docs/graders.md has the table.

    python -m tests.unit.graders.test_real_outputs

* The outputs carry no licence and are not shipped; without them the tests are skipped.
* "Published" arguments read answers as the authors' code does; the default ones read them by value.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.data_sets import REAL, read_gz, real
from w2s_cli.graders import Problem, load_grader

DOC = Path(__file__).parents[3] / "docs" / "graders.md"
WEAK = ("weak_llama2_7b", "weak_mistral_7b")
TEST = ("test_llama2-13B", "test_llama2-chat-7B", "test_dexperts-13B", "test_llama2-chat-13B", "test_llama2-gsm-7B")
EXACT_MATCH = dict(zip(TEST, (0.066, 0.230, 0.264, 0.324, 0.422), strict=True))  # published
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SETS = (*WEAK, *TEST, "model_solutions")
AS_TEXT: dict[str, Any] = {"compare": "text"}
LAST_AS_TEXT: dict[str, Any] = {"compare": "text", "marks": False, "signed": False}
PUBLISHED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(WEAK, AS_TEXT),
    **dict.fromkeys(TEST, LAST_AS_TEXT),
    "model_solutions": {},
}
LEAST = 0.995  # agreement with the authors, by published arguments


class Output(NamedTuple):
    """A real output with the verdict of its authors."""

    text: str
    answer: str
    right: bool
    read: str | None  # what the authors' code read, where the data have it


class Difference(NamedTuple):
    """An output on which the grader and the authors differ."""

    kind: str
    output: Output
    value: str | None


class Measured(NamedTuple):
    """The grader beside the authors."""

    texts: int
    right: int
    clocks: int  # texts whose answer is a clock
    differences: list[Difference]

    @property
    def agreement(self) -> float:
        return 1 - len(self.differences) / self.texts


def outputs(name: str) -> Iterator[Output]:
    """The outputs of one file."""
    if name == "model_solutions":
        for row in read_gz(real("gsm8k") / "model_solutions.jsonl.gz"):
            for model in MODELS:
                yield Output(row[model]["solution"], row["ground_truth"], row[model]["is_correct"], None)
        return
    for row in read_gz(real("gsm8k_outputs") / f"{name}.jsonl.gz"):
        if name in WEAK:
            yield Output(row["response"], row["gold"], row["result"], row["pred"])
        else:
            yield Output(row["output"], row["gold"], row["prediction"] == row["gold"], row["prediction"])


def measure(name: str, args: Mapping[str, Any]) -> Measured:
    """Grade a file."""
    grader = load_grader({"name": "number", "args": args})
    texts = right = clocks = 0
    differences = []
    for output in outputs(name):
        problem = Problem("", output.answer)
        grade = grader.grade(output.text, problem, grader.answer(problem))
        assert grade.outcome in ("right", "wrong", "no answer")
        texts, right = texts + 1, right + (grade.outcome == "right")
        clocks += ":" in (grade.value or "")
        if (grade.outcome == "right") != output.right:
            differences.append(Difference(kind(output), output, grade.value))
    return Measured(texts, right, clocks, differences)


def kind(output: Output) -> str:
    """Why the authors' verdict and that of the grader can differ."""
    if not output.read:
        return "cut before its ####"
    one, other = (Fraction(number.replace(",", "")) for number in (output.read, output.answer))
    if one == other and output.right:
        return "a ratio or a sign that the authors do not read"
    return "the same value, written otherwise" if one == other else "a minus sign"


def table() -> list[str]:
    """The lines of the table in docs/graders.md."""
    lines = []
    for name in SETS:
        published, default = measure(name, PUBLISHED[name]), measure(name, {})
        args = " ".join(f"{key}={str(value).lower()}" for key, value in PUBLISHED[name].items()) or "none"
        lines.append(
            f"| {name} | {published.texts:,} | {args} | {published.agreement:.2%} ({len(published.differences)}) | "
            f"{default.agreement:.2%} ({len(default.differences)}) | {published.right / published.texts:.3f} | "
            f"{default.right / default.texts:.3f} |"
        )
    return lines


@pytest.mark.parametrize("name", SETS)
def test_the_grader_agrees_with_the_authors_by_published_arguments(name: str) -> None:
    measured = measure(name, PUBLISHED[name])
    assert measured.agreement >= LEAST, measured.differences[:20]
    assert measured.texts == {"model_solutions": 5276}.get(name, 7000 if name in WEAK else 1319)


def test_every_flag_of_the_model_solutions_is_met() -> None:
    assert measure("model_solutions", {}).differences == []


@pytest.mark.parametrize("name", TEST)
def test_published_exact_match_is_met_to_three_decimals(name: str) -> None:
    measured = measure(name, PUBLISHED[name])
    assert round(measured.right / measured.texts, 3) == EXACT_MATCH[name]


@pytest.mark.slow
def test_the_page_has_the_measured_table_and_counts() -> None:
    page = DOC.read_text()
    for line in table():
        assert line in page
    counts = Counter(one.kind for name in SETS for one in measure(name, {}).differences)
    for name, count in counts.items():
        assert re.search(rf"\| {re.escape(name)} \| \d+ \| {count} \|", page), (name, count)


if __name__ == "__main__":
    if not REAL.is_dir():
        raise SystemExit("the outputs are not on this machine")
    print("\n".join(table()))
    for title, args in (("published", PUBLISHED), ("default", {name: {} for name in SETS})):
        measured = {name: measure(name, args[name]) for name in SETS}
        print(f"\n{title}: clocks {sum(one.clocks for one in measured.values())}")
        kinds = Counter(one.kind for found in measured.values() for one in found.differences)
        for name, count in kinds.most_common():
            print(f"{name}: {count}")
            examples = [
                (file, one) for file, found in measured.items() for one in found.differences if one.kind == name
            ]
            for file, one in examples[:6] + examples[-2:]:
                print(f"    {file}: {one.output.answer} | {one.output.read} | {one.value} | {one.output.text[-70:]!r}")
