"""What the tests share: tiny checkpoints in the hub's format, a tiny data set, finished runs, and two ways to call the command.

* `w2s` runs the command as a process of its own. It serves what a process alone can show: its exit code and death, its start-up, what
  is loaded, what a library reads from the environment.
* `w2s_inside` runs the command in the test's process, without the 0.5 CPU seconds of a start, and the stages in worker processes without
  the 6 of the import of torch and transformers (`tests.warm`). It serves all else.
* What several tests read is made once a session (`once`): models, data, finished runs. Each test changes its own copy.
"""

import gc
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from tests.inside import run_inside
from tests.small_stores import gs as gs
from tests.small_stores import s3 as s3

# read when torch loads, here and in the server of tests.warm: two test processes with two threads each wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
gc.set_threshold(100_000, 50, 100)  # as in the worker: torch's objects make each collection long

ROOT = Path(__file__).parents[1]
ANIMALS = ["dog", "cat", "horse", "cow", "hen", "fox", "wolf", "bear", "lion", "seal"]
TOOLS = ["saw", "axe", "drill", "hammer", "chisel", "plane", "vise", "clamp", "file", "rasp"]


def command(arguments: Sequence[str]) -> list[str]:
    """The real command line, as a user's `w2s` runs it."""
    return [sys.executable, "-m", "w2s_cli", *arguments]


def environment(**extra: str) -> dict[str, str]:
    """A quiet, offline, single-threaded environment for subprocesses."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("W2S_", "HF_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # every command would compile the package again: 0.3 CPU seconds
    quiet = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    return {**kept, **quiet, **extra}


@pytest.fixture
def w2s(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `w2s …` in the test's folder and return what it printed; `code` is the exit code it must have."""

    def run(
        *arguments: str, code: int | None = 0, timeout: float = 240, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(arguments), cwd=tmp_path, env=environment(**extra), capture_output=True, text=True, timeout=timeout
        )
        if code is not None and done.returncode != code:
            raise AssertionError(f"w2s {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture
def w2s_inside(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `w2s`, in this process."""

    def run(*arguments: str, code: int | None = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        done = run_inside(arguments, tmp_path, environment(**extra))
        if code is not None and done.returncode != code:
            raise AssertionError(f"w2s {' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


def without_free_memory(plan: str) -> str:
    """What `w2s plan` prints, without the memory that is free at the moment: to compare two plans."""
    return re.sub(r" has [\d.]+ of ", " has some of ", plan)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once for all test processes of a session; nobody changes it afterwards."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of the session; pytest-xdist gives each process a folder below it
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def sentences(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Rows of a task that a tiny model can learn a part of: does the sentence name an animal?"""
    drawn = random.Random(seed)
    rows: list[dict[str, object]] = []
    for number in range(count):
        label = number % 2
        noun = drawn.choice(ANIMALS if label else TOOLS)
        filler = " ".join(
            drawn.choice(["the", "a", "big", "old", "red", "my", "one", "new"]) for _ in range(drawn.randrange(1, 6))
        )
        rows.append({"id": f"r{number}", "text": f"{filler} {noun}", "label": label})
    return rows


def write_jsonl(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write rows as a .jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random checkpoints of a GPT-2 and a larger Llama with a tokenizer of their own, saved as the hub has them."""
    folder = once(tmp_path_factory, "models", save_tiny_models)
    return {"weak": folder / "weak", "strong": folder / "strong"}


def save_tiny_models(folder: Path) -> None:
    """Write both checkpoints."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        set_seed,
    )

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [str(row["text"]) for row in sentences(400)], vocab_size=400, special_tokens=["<|endoftext|>", "<|pad|>"]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    set_seed(0)
    size = len(tokenizer)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=64, n_embd=16, n_layer=1, n_head=2, pad_token_id=1))
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            pad_token_id=1,
        )
    )
    for name, model in (("weak", gpt2), ("strong", llama)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


@pytest.fixture(scope="session")
def tiny_words(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> list[str]:
    """Overrides of a run that takes seconds: tiny models, 240 rows."""
    data = once(tmp_path_factory, "animals", write_animals) / "animals.jsonl"
    return [
        *("weak=local", f"weak.path={tiny_models['weak']}", "strong=local", f"strong.path={tiny_models['strong']}"),
        *("data=local", f"data.path={data}", "data.text=text", "data.label=label", "data.id=id"),
        *("weak.lr=5e-3", "strong.lr=5e-3", "bootstrap=200"),
    ]


def write_animals(folder: Path) -> None:
    """The rows of the tiny run."""
    write_jsonl(folder / "animals.jsonl", sentences(240))


@pytest.fixture
def tiny(tiny_words: list[str]) -> list[str]:
    """The overrides of the tiny run, to add to."""
    return list(tiny_words)


def without_weak(words: Sequence[str]) -> list[str]:
    """The words of a run that has no weak supervisor."""
    return [word for word in words if not word.startswith("weak")]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_words: list[str]) -> Path:
    """The outputs folder of a finished tiny run."""
    return once(tmp_path_factory, "finished", lambda folder: train_in(folder, tiny_words)) / "outputs"


def train_in(folder: Path, words: Sequence[str]) -> None:
    """`w2s train` with these words, in `folder`."""
    done = subprocess.run(
        command(["train", *words]), cwd=folder, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def ran(tmp_path: Path, tiny: list[str], finished: Path) -> list[str]:
    """A finished tiny run in the test's folder, a copy; its overrides."""
    shutil.copytree(finished, tmp_path / "outputs", symlinks=True)
    return tiny
