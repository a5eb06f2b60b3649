"""Random words to `w2s plan`: each ends in a plan or in one message, soon, and never in a traceback or in "a bug in w2s"."""

import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from w2s_cli.config.declared import declared_fields
from w2s_cli.config.words import OPTIONS, group_names, options

Run = Callable[..., subprocess.CompletedProcess[str]]
LONGEST_S = 30  # of one plan
WORDS = 2000
VALUES = [
    *(
        "0",
        "1",
        "-1",
        "2",
        "3.5",
        "1e-3",
        "1e23",
        "1e400",
        "-0.0",
        "nan",
        "inf",
        "true",
        "false",
        "null",
        "None",
        "''",
        '""',
        " ",
    ),
    *(
        "[]",
        "[1]",
        "[1,2]",
        "[null]",
        "[[1],[2]]",
        "[a,b]",
        "[0.9]",
        "[1.5,.9]",
        "{}",
        "{a: 1}",
        "{a: {b: [1]}}",
        "[{a: 1}]",
    ),
    *(
        "range(0,3)",
        "range(0,5,0)",
        "range(5,0)",
        "glob(*)",
        "choice(1,2)",
        "interval(0,1)",
        "shuffle(1,2)",
        "sort(2,1)",
        "int(3)",
    ),
    *(
        "${seed}",
        "${nosuch}",
        "${seed",
        "${oc.env:HOME}",
        "${hydra:job.num}",
        "???",
        "a b",
        "a=b",
        "a,b",
        "0,1,2",
        "x" * 5000,
    ),
    *(
        "é",
        "日本",
        "\x1b[31m",
        "a\nb",
        "a\tb",
        "\\",
        "\\n",
        '"\\q"',
        '"\\ud800"',
        "'",
        '"',
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        "@",
    ),
    *(
        "/",
        "..",
        "../..",
        "/dev/null",
        "/dev/zero",
        "/etc/passwd",
        "/nosuch/file.jsonl",
        "~",
        "~nosuch/x",
        "file://x",
        "bundled:x",
    ),
    *(
        "gpt2",
        "wordnet-xs",
        "xent",
        "naive",
        "cpu",
        "cuda:0",
        "weak",
        "truth",
        "999999999999999999999",
        "0x10",
        "1_000",
        "٣",
    ),
]
SIGNS = ["", "", "", "", "", "+", "++", "~", "+~"]


def drawn_word(chance: random.Random) -> str:
    """A word that a user, a script or a slip of either could write."""
    groups, fields = sorted(group_names(None) | {"weak", "strong"}), sorted(declared_fields())
    kind = chance.randrange(6)
    if kind == 0:
        shown = [option for option in OPTIONS if option != "--debug"]  # which asks for a traceback
        return chance.choice([*shown, "-x", "--", "---", "--outputs", "--config-dir=/nosuch", "--force=", "-m=1"])
    if kind == 1:
        group = chance.choice(groups)
        return f"{chance.choice(SIGNS)}{group}={chance.choice([*options(group, None), 'nosuch', *VALUES])}"
    name = chance.choice(fields)
    if kind == 2:
        name = chance.choice(
            [
                f"{name}.x",
                f"{name}[0]",
                name[:-1],
                name.upper(),
                f"x.{name}",
                f"hydra.{name}",
                f"{name}@x",
                f"model@{name}",
            ]
        )
    return f"{chance.choice(SIGNS)}{name}={chance.choice(VALUES)}" if kind < 5 else chance.choice([name, *VALUES])


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after `seconds` in the block."""

    def late(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[] if part == 0 else [pytest.mark.slow]) for part in range(20)]
)
def test_random_words_end_in_a_plan_or_in_a_message(w2s_inside: Run, tmp_path: Path, part: int) -> None:
    chance = random.Random(part)
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')
    wrong = []
    for _ in range(WORDS // 20):
        words = [drawn_word(chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
        with at_most(LONGEST_S):
            done = w2s_inside("plan", *words, code=None)
        said = done.stdout + done.stderr
        if (
            done.returncode not in (0, 2)
            or "Traceback" in said
            or "bug in w2s" in said
            or "\x1b" in said
            or len(done.stderr) > 3000
        ):
            wrong.append((words, done.returncode, done.stderr[-400:]))
    assert not wrong
