"""Micro-batches after a lack of memory: which size is tried next, and what is said when a single row does not fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.training.test_models import context
from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.store.context import Restart
from w2s_cli.training import memory
from w2s_cli.training.attention.cpu import LAYOUT
from w2s_cli.training.batching import micro_batches
from w2s_cli.training.loop import Recipe, train
from w2s_cli.training.memory import Budget, does_not_fit
from w2s_cli.training.objectives import classification

GIB = 1 << 30
KEEPS = """
import resource, threading, torch

def product(rows):
    return torch.ones(rows, 64) @ torch.ones(64, 96)

def compiles(rows, word):
    try:
        product(rows)
    except RuntimeError:
        print(word)

torch.set_num_threads(1)
torch.set_float32_matmul_precision("medium")
product(33)
unlimited = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), unlimited[1]))
for rows in range(100, 400):
    try:
        product(rows)
    except RuntimeError as error:
        if "could not create a primitive" in str(error):
            print("failed")
        break
resource.setrlimit(resource.RLIMIT_AS, unlimited)
compiles(500, "kept")
thread = threading.Thread(target=lambda: (product(501), print("another")))
thread.start()
thread.join()
"""


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("could not create a memory object")])
def test_out_of_memory_halves_the_micro_batch_and_changes_nothing_else(tmp_path: Path, error: Exception) -> None:
    torch.manual_seed(0)
    features_, targets = torch.randn(16, 4), torch.eye(2)[torch.arange(16) % 2]
    weights = []
    for room in (16, 3):
        model = nn.Linear(4, 2)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)

        def forward(rows: list[int], room: int = room, model: nn.Module = model) -> torch.Tensor:
            if len(rows) > room:
                raise error
            found: torch.Tensor = model(features_[rows])
            return found

        objective = classification.objective(forward, np.ones(16, dtype=int), targets, load_loss("xent"), {})
        ctx = context(tmp_path / str(room), micro_tokens=16)
        train(model, objective, lambda epoch: [list(range(16))], Recipe(epochs=3, lr=0.1), ctx, "finetune")
        weights.append(model.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1])
    assert (tmp_path / "3" / "log.txt").read_text().count("out of memory") == 3  # 16 → 8 → 4 → 2, once
    assert ctx.measured["micro_tokens"] == 2


def test_a_failure_that_onednn_keeps_is_continued_in_a_new_process_with_less(tmp_path: Path) -> None:
    tokens, measured = [], {}

    def work(pieces: list[list[int]]) -> str:
        tokens.append(4 * max(map(len, pieces)))
        if tokens[-1] > 4:
            raise RuntimeError("could not create a primitive")
        return "done"

    def process() -> str:
        ctx = context(tmp_path, micro_tokens=16)  # as the worker makes it: the same folder, another process
        budget = Budget(ctx, "micro_tokens")
        measured.update(ctx.measured)
        return budget.fit(lambda tokens: micro_batches(range(4), np.full(4, 4), tokens), work)

    for _ in range(2):
        with pytest.raises(Restart):
            process()
    assert process() == "done"
    assert tokens == [16, 8, 4]
    assert measured == {"micro_tokens": 4}
    assert (tmp_path / "log.txt").read_text().count("in a new process") == 2
    assert Budget(context(tmp_path, eval_tokens=64), "eval_tokens").tokens == 64  # the other budget has its own


@pytest.mark.parametrize("text", ["", "[]", '{"micro_tokens": "8"}', '{"micro_tokens": 8', "\0"])
def test_a_note_of_another_process_that_is_none_is_ignored(tmp_path: Path, text: str) -> None:
    ctx = context(tmp_path, micro_tokens=16)
    (ctx.work / "micro_batches.json").write_text(text)
    assert Budget(ctx, "micro_tokens").tokens == 16


def test_onednn_keeps_a_failure_for_its_thread() -> None:
    """The reason of the new process. Where this fails, oneDNN has mended it, and `store.memory.stays` can go."""
    done = subprocess.run([sys.executable, "-c", KEEPS], capture_output=True, text=True, timeout=120)
    if done.returncode != 0 or "failed" not in done.stdout:
        pytest.skip("no kernel of oneDNN fails here for want of memory alone")
    assert done.stdout.split() == ["failed", "kept", "another"]


def test_micro_batches_that_draw_dropout_are_not_halved(tmp_path: Path) -> None:
    def work(pieces: list[list[int]]) -> None:
        raise MemoryError

    ctx = context(tmp_path, micro_tokens=16)
    budget = Budget(ctx, "micro_tokens", fixed=True)
    with pytest.raises(UserError, match=r"micro-batches of 16 tokens.* set launcher\.micro_tokens=8$"):
        budget.fit(lambda tokens: micro_batches(range(4), np.full(4, 4), tokens), work)
    assert budget.tokens == 16
    with pytest.raises(MemoryError):  # one row is told by the loop
        budget.fit(lambda tokens: [[0]], work)


def test_a_resumed_training_notes_the_micro_batch_of_its_checkpoint(tmp_path: Path) -> None:
    ctx = context(tmp_path, micro_tokens=16)
    budget = Budget(ctx, "micro_tokens")
    budget.lower(16)
    assert "micro_tokens" not in ctx.measured
    budget.lower(2)
    assert (budget.tokens, ctx.measured["micro_tokens"]) == (2, 2)


@pytest.mark.parametrize(
    ("room", "message"),
    [
        (0, r"an update with one row, a text of 7 tokens: .* a max_length below 7 or .* or more memory$"),
        (
            16,
            r"the step of the optimizer: weights, gradients and moments take [^,]*\. What can fit: a (smaller )?model",
        ),
    ],
)
def test_a_lack_of_memory_is_told_where_it_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, message: str
) -> None:
    """Of pairs, `lengths` counts both texts, and max_length one of them."""
    model = nn.Linear(4, 2)

    def forward(rows: list[int]) -> torch.Tensor:
        if len(rows) > room:
            raise MemoryError
        found: torch.Tensor = model(torch.ones(len(rows), 4))
        return found

    def step(self: torch.optim.Optimizer) -> None:
        raise MemoryError

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    objective = classification.objective(
        forward, np.full(4, 14), torch.eye(2)[torch.arange(4) % 2], load_loss("xent"), {}, longest=np.full(4, 7)
    )
    with pytest.raises(UserError, match=message):
        train(model, objective, lambda epoch: [[0, 1, 2, 3]], Recipe(epochs=1, lr=0.1), context(tmp_path), "finetune")


def test_no_size_is_tried_that_cuts_the_rows_as_before(tmp_path: Path) -> None:
    lengths, tried, told = np.full(64, 100), list[int](), list[str]()
    ctx = context(tmp_path, micro_tokens=8192)
    ctx.emit = lambda event: told.append(event["text"])
    budget = Budget(ctx, "micro_tokens")

    def work(pieces: list[list[int]]) -> None:
        tried.append(max(map(len, pieces)))
        raise MemoryError

    with pytest.raises(MemoryError):
        budget.fit(lambda tokens: micro_batches(range(64), lengths, tokens, LAYOUT), work)
    assert tried == [20, 10, 5, 2, 1]  # packed micro-batches on a CPU have 2,048 tokens at most
    assert told == [
        *(f"launcher.micro_tokens={n}" for n in (1024, 512, 256, 128)),
        "a smaller max_length or a smaller model",
    ]


class Classifier(nn.Module):
    """As large as said, a part of it trained; as a classifier of transformers has it, with `num_labels`."""

    num_labels = 2

    def __init__(self, frozen: int, trained: int) -> None:
        super().__init__()
        self.frozen = nn.Parameter(torch.empty(frozen // 4, device="meta"), requires_grad=False)
        self.trained = nn.Parameter(torch.empty(trained // 4, device="meta"))


@pytest.mark.parametrize(
    ("frozen", "trained", "options", "most", "named", "silent"),
    [
        (0, 2, {"gradient_checkpointing": False}, 12, ["gradient_checkpointing", "max_length below 77", "train=lora", "403"], []),
        (0, 2, {"gradient_checkpointing": True}, 12, ["max_length", "train=lora"], ["gradient_checkpointing"]),
        (0, 4, {"gradient_checkpointing": False}, 12, ["take 16.00 GiB of the 12.00 GiB", "train=lora"], ["max_length", "gradient_ch"]),
        (0, 13, {"gradient_checkpointing": False}, 12, ["million"], ["max_length", "gradient_ch", "train=lora"]),
        (4, 1, {"gradient_checkpointing": False}, 12, ["take 8.00 GiB", "max_length"], ["train=lora"]),
        (0, 2, {}, 12, ["max_length"], ["gradient_checkpointing"]),  # pretraining
        (0, 2, {"gradient_checkpointing": False}, None, ["max_length", "train=lora", "a smaller model"], ["may have"]),
    ],
)  # fmt: skip
def test_only_what_can_fit_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frozen: int,
    trained: int,
    options: dict[str, bool],
    most: int | None,
    named: list[str],
    silent: list[str],
) -> None:
    monkeypatch.setattr(memory, "_most_bytes", lambda model: most and most * GIB)
    text = str(does_not_fit(Classifier(frozen * GIB, trained * GIB), 77, context(tmp_path, **options)))
    assert [part for part in named if part not in text] == []
    assert [part for part in silent if part in text] == []
