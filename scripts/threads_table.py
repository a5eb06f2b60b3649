"""The table of docs/speed.md: the threads and stages at a time that w2s chooses, against fixed numbers.

python scripts/threads_table.py [--repeats N] [--rows N] [CASE …]      an hour on 2 quiet cores; a CASE is the beginning of a row's name

* Weak and strong model are the same, and each pool of a case has the same number of rows. Short texts are the bundled words, long ones
  those of the benchmark (`scripts/benchmarks/texts.py`). One training alone is `w2s label` with few rows to label.
* The settings run in turn (A B C D A B C D), each in a fresh outputs folder. A cell is the median of their wall seconds, with the range.
* The last lines are the commands, to repeat a row by hand. `--keep FOLDER` keeps their models and rows.
"""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from scripts.benchmarks import models, texts  # noqa: E402
from scripts.benchmarks.comparing import in_turn  # noqa: E402
from scripts.benchmarks.parts.sweep import busy  # noqa: E402
from scripts.benchmarks.processes import Took, w2s  # noqa: E402
from scripts.benchmarks.stored import machine  # noqa: E402

CORES = len(os.sched_getaffinity(0))
LONG = 230  # tokens of a text, on average
SETTINGS: dict[str, list[str]] = {
    "default": [],
    "J=1 T=1": ["launcher.jobs=1", "launcher.threads=1"],
    f"J=1 T={CORES}": ["launcher.jobs=1", f"launcher.threads={CORES}"],
    f"J={CORES} T=1": [f"launcher.jobs={CORES}", "launcher.threads=1"],
}


@dataclass(frozen=True)
class Case:
    """A row of the table: a model, its texts, and the rows of each pool."""

    model: str
    rows: int
    long: bool = False
    alone: bool = False  # one training, without a student and a ceiling
    busy: bool = False  # beside as many busy processes as there are cores


CASES = {
    "wordnet-l (2.6 million parameters), short": Case("wordnet-l", 3000),
    "GPT-2's form, 4 layers of 256 (4.5 million), short": Case("gpt2-4x256", 2000),
    "GPT-2's form, 6 layers of 384 (12.6 million), long": Case("gpt2-6x384", 300, long=True),
    "SmolLM2-135M's form (random weights), long": Case("llama-135m", 120, long=True),
    "wordnet-l, short, beside other busy processes": Case("wordnet-l", 3000, busy=True),
    "alone: wordnet-l, short": Case("wordnet-l", 1800, alone=True),
    "alone: wordnet-l, long": Case("wordnet-l", 150, long=True, alone=True),
    "alone: 4 layers of 256, long": Case("gpt2-4x256", 150, long=True, alone=True),
    "alone: 6 layers of 384, short": Case("gpt2-6x384", 900, alone=True),
}


def main(argv: Sequence[str]) -> int:
    """Measure the cases, and print the table."""
    parser = argparse.ArgumentParser(description="The table of docs/speed.md: chosen threads against fixed numbers.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="the beginning of a row's name; all rows without it")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each setting")
    parser.add_argument("--rows", type=int, help="rows of each pool instead of the case's own, for a trial")
    parser.add_argument("--keep", type=Path, help="the folder of models and texts, kept for the next call")
    given = parser.parse_args(argv)
    chosen = [name for name in CASES if not given.cases or name.startswith(tuple(given.cases))]
    if not chosen:
        parser.error(f"no row begins with {given.cases[0]}; there are: {'; '.join(CASES)}")
    print(f"| model, texts | {' | '.join(SETTINGS)} |\n{'|---' * (len(SETTINGS) + 1)}|", flush=True)
    commands = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (given.keep or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        for name in chosen:
            words = words_of(CASES[name], work, given.rows)
            commands.append(shlex.join(["w2s", *words]).replace(str(work), "FOLDER"))
            print(row(name, CASES[name], words, work, given.repeats), flush=True)
    # after the measurements: it imports torch, and a process begins with the memory of its parent
    print(f"\n{machine()}; {given.repeats} run(s) of each setting\n")
    print("\n".join(dict.fromkeys(commands)))
    return 0


def words_of(case: Case, work: Path, rows: int | None) -> list[str]:
    """The words of the command, without the setting and the outputs folder; models and texts are made if they are missing."""
    rows = rows or case.rows
    labelled = 32 if case.alone else rows
    words = ["label" if case.alone else "train"]
    for side in ("weak", "strong") if not case.alone else ("weak",):
        if case.model not in models.SHAPES:
            words += [f"{side}={case.model}"]
            continue
        words += [f"{side}=local", f"{side}.path={models.base(case.model, work / 'models')}", f"{side}.lr=1e-4"]
    if case.long:
        path = work / "long.jsonl"
        if not path.exists():
            texts.write(path, 4 * max(one.rows for one in CASES.values() if one.long), LONG)
        words += ["data=local", f"data.path={path}", "data.text=text", "data.label=label", "data.id=id"]
    limits = {"weak_train": rows, "strong_train": labelled, **({} if case.alone else {"test": rows})}
    return [*words, *(f"data.limits.{pool}={count}" for pool, count in limits.items())]


def row(name: str, case: Case, words: Sequence[str], work: Path, repeats: int) -> str:
    """A line of the table."""

    def run(setting: Sequence[str]) -> Took:
        outputs = work / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        return w2s([*words, *setting, f"outputs={outputs}"], CORES, work)

    # alone, one stage with a model is left to do at any time: two at a time are no other setting
    settings = {what: words for what, words in SETTINGS.items() if not (case.alone and what == list(SETTINGS)[-1])}
    with busy(CORES) if case.busy else nullcontext():
        programs = {what: lambda _, setting=setting: run(setting) for what, setting in settings.items()}
        taken = in_turn(programs, repeats, lambda line: None)
    cells = [told([took.wall_s for took in taken[what]]) if what in taken else "" for what in SETTINGS]
    return f"| {name} | {' | '.join(cells)} |"


def told(seconds: Sequence[float]) -> str:
    """'13.9 (13.5–14.2)'."""
    middle = f"{median(seconds):.1f}"
    return middle if len(seconds) == 1 else f"{middle} ({min(seconds):.1f}–{max(seconds):.1f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
