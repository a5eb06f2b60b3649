"""What the tests share: tiny checkpoints in the hub's format, a tiny data set, and the real command in a subprocess."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # read when torch loads: two test processes with two threads each wait for each other

ROOT = Path(__file__).parents[1]
ANIMALS = ["dog", "cat", "horse", "cow", "hen", "fox", "wolf", "bear", "lion", "seal"]
TOOLS = ["saw", "axe", "drill", "hammer", "chisel", "plane", "vise", "clamp", "file", "rasp"]


def command(arguments: Sequence[str]) -> list[str]:
    """The real command line, as a user's `w2s` runs it."""
    return [sys.executable, "-m", "w2s_cli", *arguments]


def environment(**extra: str) -> dict[str, str]:
    """A quiet, offline, single-threaded environment for subprocesses."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("W2S_", "HF_"))}
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
    folder = tmp_path_factory.mktemp("models")
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
    found = {"weak": folder / "weak", "strong": folder / "strong"}
    for path, model in zip(found.values(), (gpt2, llama), strict=True):
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return found


@pytest.fixture
def tiny(tmp_path: Path, tiny_models: dict[str, Path]) -> list[str]:
    """Overrides of a run that takes seconds: tiny models, 240 rows, in the test's folder."""
    data = write_jsonl(tmp_path / "animals.jsonl", sentences(240))
    return [
        "weak=local",
        f"weak.path={tiny_models['weak']}",
        "strong=local",
        f"strong.path={tiny_models['strong']}",
        "data=local",
        f"data.path={data}",
        "data.text=text",
        "data.label=label",
        "data.id=id",
        "weak.lr=5e-3",
        "strong.lr=5e-3",
        "bootstrap=200",
    ]
