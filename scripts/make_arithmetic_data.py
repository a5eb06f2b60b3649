"""Make the bundled arithmetic set (``train.jsonl.gz``, ``test.jsonl.gz``), and the text on which its models are pretrained.

    python scripts/make_arithmetic_data.py --out w2s_cli/bundled/data/arithmetic
    python scripts/make_arithmetic_data.py --corpus FILE.jsonl --documents 120000

A problem is a short story about things that people own. Its level is the number of steps, 1 to 6; each step is one sentence and
one equation of the solution. All numbers are whole and lie between 1 and 99. Of the training rows, every problem of level 4 to 6 (a hard
task) has a part: the problem of its first steps, 1 to 3, as a row of its own with the same ``parent``.

The pretraining text holds the skill, but not the task, and not as the default:

* A document is a sheet of exercises, all in one form: how the story and the work are announced (``STORY``, ``WORK``), how the
  steps are written (``STEPS``) and how the answer is (``FINAL``). The announcements of the task (``TASK``) never occur with worked
  steps: they are the form in which the hasty pupil writes half of the sheets.
* A sheet has one pupil. The careful pupil makes no error, the careless one errs in some steps and goes on with the wrong number,
  the hasty one writes an answer without any step, which is usually wrong. Nothing but the sheet itself tells who writes.
* So a pretrained model can solve the problems, and has to find out in what form, and in the manner of which pupil.

Every draw comes from a ``random.Random`` seeded by a text, so each run gives the same bytes (gzip without name and time).
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

LEVELS = range(1, 7)
HARD = (4, 5, 6)  # levels of problems with a part
EASIER = 3  # steps that a part lacks
LARGEST = 99
ROWS = {"train": 9000, "test": 2400}  # the same number of each level
NAMES = (
    "Ada",
    "Ben",
    "Cora",
    "Dan",
    "Eva",
    "Finn",
    "Gina",
    "Hugo",
    "Iris",
    "Jon",
    "Kira",
    "Leo",
    "Mona",
    "Nils",
    "Olga",
    "Paul",
)
THINGS = ("apples", "books", "cards", "coins", "eggs", "nuts", "pens", "shells", "stamps", "stones", "toys", "keys")

# {a}: who owns the things, {b}: another person, {n}: a number, {t}: the things
START = ("{a} has {n} {t}.", "{a} owns {n} {t}.", "At first {a} has {n} {t}.", "There are {n} {t} in the box of {a}.")
SENTENCES = {
    "+": (
        "{a} buys {n} more.",
        "{a} finds {n} {t}.",
        "{b} gives {n} {t} to {a}.",
        "{a} gets {n} new {t}.",
        "Then {a} wins {n}.",
    ),
    "-": (
        "{a} loses {n}.",
        "{a} sells {n} {t}.",
        "{a} gives {n} {t} to {b}.",
        "{b} takes {n} of them.",
        "Then {a} drops {n}.",
    ),
    "*": ("Then {a} has {x} as many.", "The number grows to {x} as many.", "{a} now owns {x} as many {t}."),
    "/": ("{a} gives half of them to {b}.", "Half of the {t} get lost.", "{a} sells half of the {t}."),
    "+other": ("{b} has {n} more {t} than {a}.", "{b} owns {n} more than {a}."),
    "-other": ("{b} has {n} fewer {t} than {a}.", "{b} owns {n} fewer than {a}."),
    "*other": ("{b} has {x} as many {t} as {a}.", "{b} owns {x} as many as {a}."),
    "/other": ("{b} has half as many {t} as {a}.", "{b} owns half as many as {a}."),
}
TIMES = {2: "twice", 3: "three times"}
ASK = ("How many {t} does {a} have?", "How many {t} does {a} have now?", "What is the number of {t} of {a}?")

STORY = ("Question:", "Problem:", "Exercise:", "Story:", "Q:", "Task:")
WORK = ("Answer:", "Solution:", "Work:", "Result:", "A:", "Reply:")
STEPS = ("dots", "commas", "then", "lines", "so", "numbers")
FINAL = ("####", "The answer is", "Total:", "It is", "Answer =", "Therefore")
TASK = ("Question:", "Answer:", "dots", "####")
PUPILS = {"careful": 0.45, "careless": 0.25, "hasty": 0.3}
HASTY_TASK = 0.5  # share of the hasty pupil's sheets with the announcements of the task
SLIP = 0.25  # share of the steps in which the careless pupil errs
DRILLS = 0.1  # share of the documents that are lists of equations
SHEET = range(1, 7)  # problems of a sheet


class Step(NamedTuple):
    """One equation: `left` `operator` `right` = `result`."""

    left: int
    operator: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}"


@dataclass(frozen=True)
class Problem:
    """A story with its question, and its solution."""

    sentences: tuple[str, ...]  # the beginning, and one for each step
    asked: tuple[str, ...]  # the question after each step
    start: int
    steps: tuple[Step, ...]

    @property
    def question(self) -> str:
        return " ".join((*self.sentences, self.asked[-1]))

    def part(self, steps: int) -> Problem:
        """The problem of the first steps."""
        return Problem(self.sentences[: steps + 1], self.asked[:steps], self.start, self.steps[:steps])

    @property
    def answer(self) -> int:
        return self.steps[-1].result


def problem(draw: Random, level: int) -> Problem:
    """A problem of `level` steps."""
    owner, thing = draw.choice(NAMES), draw.choice(THINGS)
    start = value = draw.randint(2, 40)
    sentences, asked = [draw.choice(START).format(a=owner, n=start, t=thing)], list[str]()
    steps = []
    for _ in range(level):
        kind = draw.choice([kind for kind in SENTENCES if _possible(kind[0], value)])
        operator = kind[0]
        right = _operand(draw, operator, value)
        other = draw.choice([name for name in NAMES if name != owner])
        sentence = draw.choice(SENTENCES[kind])
        sentences.append(sentence.format(a=owner, b=other, n=right, x=TIMES.get(right), t=thing))
        steps.append(Step(value, operator, right, compute(value, operator, right)))
        value = steps[-1].result
        owner = other if kind.endswith("other") else owner
        asked.append(draw.choice(ASK).format(a=owner, t=thing))
    return Problem(tuple(sentences), tuple(asked), start, tuple(steps))


def compute(left: int, operator: str, right: int) -> int:
    """The exact result of one step."""
    return {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[operator]


def _possible(operator: str, value: int) -> bool:
    return {"+": value < 90, "-": value > 2, "*": 2 * value <= LARGEST, "/": value % 2 == 0}[operator]


def _operand(draw: Random, operator: str, value: int) -> int:
    if operator == "*":
        return draw.choice([factor for factor in TIMES if factor * value <= LARGEST])
    return 2 if operator == "/" else draw.randint(1, min(40, LARGEST - value if operator == "+" else value - 1))


def written(steps: Sequence[Step], start: int, style: str) -> str:
    """The steps of a solution in one of STEPS."""
    texts = [str(step) for step in steps]
    match style:
        case "dots":
            return " ".join(f"{text}." for text in texts)
        case "commas":
            return ", ".join(texts) + "."
        case "then":
            return "First " + ". Then ".join(texts) + "."
        case "lines":
            return "\n".join(texts)
        case "so":
            return " ".join(f"{text}, so {step.result}." for text, step in zip(texts, steps, strict=True))
        case "numbers":
            return " then ".join(map(str, [start, *(step.result for step in steps)])) + "."
    raise ValueError(style)


def solution(problem: Problem) -> str:
    """The solution in the form of the task: "5 + 3 = 8. 8 - 2 = 6. #### 6"."""
    return f"{written(problem.steps, problem.start, TASK[2])} {TASK[3]} {problem.answer}"


def slipped(problem: Problem, draw: Random, share: float) -> Problem:
    """The problem as a careless pupil solves it: each step is wrong with probability `share`, and the next goes on from there."""
    value, steps = problem.start, list[Step]()
    for step in problem.steps:
        left = 2 * (value // 2) if step.operator == "/" and value % 2 else value
        right = compute(left, step.operator, step.right)
        if draw.random() < share or not 1 <= right <= LARGEST:
            right = draw.choice(
                [near for near in range(right - 10, right + 11) if 1 <= near <= LARGEST and near != right] or [1]
            )
        steps.append(Step(left, step.operator, step.right, right))
        value = right
    return Problem(problem.sentences, problem.asked, problem.start, tuple(steps))


def sheet(draw: Random, excluded: set[str]) -> str:
    """One document: problems in one form, by one pupil."""
    pupil = draw.choices(list(PUPILS), list(PUPILS.values()))[0]
    steps, final = draw.choice(STEPS), draw.choice(FINAL)
    forms = [(story, work) for story in STORY for work in WORK if (story, work) != TASK[:2]]
    story, work = draw.choice(forms)
    if pupil == "hasty" and draw.random() < HASTY_TASK:
        story, work = TASK[:2]
    texts = []
    for _ in range(draw.choice(SHEET)):
        solved = problem(draw, draw.choice(LEVELS))
        if solved.question in excluded:
            continue
        if pupil == "hasty":
            near = solved.answer + draw.randint(-6, 6)
            answer = f"{final} {min(max(near, 1), LARGEST)}"
        else:
            if pupil == "careless":
                solved = slipped(solved, draw, SLIP)
            between = "\n" if steps == "lines" else " "
            answer = f"{written(solved.steps, solved.start, steps)}{between}{final} {solved.answer}"
        texts.append(f"{story} {solved.question}\n{work} {answer}")
    return "\n\n".join(texts)


def drill(draw: Random) -> str:
    """One document: equations without a story."""
    texts = []
    for _ in range(draw.randint(5, 25)):
        operator = draw.choice("+-*/")
        value = draw.choice([value for value in range(1, LARGEST + 1) if _possible(operator, value)])
        right = _operand(draw, operator, value)
        texts.append(str(Step(value, operator, right, compute(value, operator, right))))
    return ". ".join(texts) + "."


def documents(count: int, excluded: set[str]) -> Iterator[str]:
    """The pretraining text; without the problems of the task."""
    for number in range(count):
        draw = Random(f"arithmetic document {number}")
        text = drill(draw) if draw.random() < DRILLS else sheet(draw, excluded)
        if text:
            yield text


def task() -> dict[str, list[dict[str, str | int]]]:
    """Split → rows; no two rows have the same question."""
    seen: set[str] = set()
    splits: dict[str, list[dict[str, str | int]]] = {}
    for split, count in ROWS.items():
        rows = splits[split] = []
        draw = Random(f"arithmetic {split}")
        while len(rows) < count:
            parent = f"{split}-{len(rows)}"
            if split == "train":
                hard = problem(draw, HARD[len(rows) // 2 % len(HARD)])
                drawn = [hard, hard.part(len(hard.steps) - EASIER)]
            else:
                drawn = [problem(draw, LEVELS[len(rows) % len(LEVELS)])]
            if seen & {one.question for one in drawn}:
                continue
            for one in drawn:
                seen.add(one.question)
                row = {
                    "question": one.question,
                    "solution": solution(one),
                    "answer": str(one.answer),
                    "level": len(one.steps),
                }
                rows.append({"id": f"{split}-{len(rows)}", "parent": parent, **row})
    return splits


def write_lines(path: Path, rows: Sequence[object]) -> None:
    """JSON lines, gzipped by name."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 9, mtime=0) if path.suffix == ".gz" else data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the task's files")
    parser.add_argument("--corpus", type=Path, help="file of the pretraining text")
    parser.add_argument("--documents", type=int, default=120_000)
    arguments = parser.parse_args()
    splits = task()
    if arguments.out:
        for split, rows in splits.items():
            write_lines(arguments.out / f"{split}.jsonl.gz", rows)
    if arguments.corpus:
        asked = {str(row["question"]) for rows in splits.values() for row in rows}
        write_lines(arguments.corpus, [{"text": text} for text in documents(arguments.documents, asked)])


if __name__ == "__main__":
    main()
