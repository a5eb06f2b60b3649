"""A user's own loss that does what no loss may do: the message names the loss, its file and line, and what is wrong with it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from w2s_cli.errors import UserError
from w2s_cli.losses import load_loss
from w2s_cli.run import scheduler
from w2s_cli.training.objectives.classification import objective

Run = Callable[..., subprocess.CompletedProcess[str]]
HEAD = "import os, sys\nimport torch\ndef mine(logits, labels, *, progress, scale: float = 1 / 3):\n"


def write_loss(folder: Path, body: str) -> Path:
    """The --config-dir folder of a loss `mine`."""
    (folder / "losses").mkdir(parents=True)
    (folder / "loss").mkdir()
    (folder / "losses" / "mine.py").write_text(f"{HEAD}    {body}\n")
    (folder / "loss" / "mine.yaml").write_text("name: mine\nargs: {}\n")
    return folder


def updated(folder: Path, body: str, logits: list[list[float]]) -> Any:
    """The loss of one update by an own loss with this body."""
    import numpy as np

    loss = load_loss("mine", [write_loss(folder, body)])
    values = torch.tensor(logits, requires_grad=True)
    made = objective(lambda rows: values[rows], np.array([2, 2]), torch.eye(2), loss, {})
    [part] = made.parts([[0, 1]], 0.0)
    return part.sums["loss"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1.0", "loss mine must return a tensor, the mean of its rows' losses, and returned float"),
        ("return None", "and returned NoneType"),
        ("return [0.1, 0.2]", "and returned list"),
        ("return logits.sum(1)", "loss mine must return a scalar, the mean over its rows, and returned shape [2]"),
        (
            "return logits.sum() * float('nan')",
            "loss mine is nan although all logits are finite: the fault is in the loss",
        ),
        ("raise ValueError('boom')", "loss mine failed: ValueError: boom ({file}, line 4)"),
        ("return torch.ones(3) @ torch.ones(2)", "({file}, line 4)"),
        ("raise KeyboardInterrupt", "loss mine failed: KeyboardInterrupt ({file}, line 4)"),
        ("sys.exit(3)", "loss mine failed: SystemExit: 3 ({file}, line 4)"),
    ],
)
def test_a_loss_that_gives_no_number_is_named_with_its_fault(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        updated(tmp_path, body, [[0.0, 1.0], [1.0, 0.0]])
    assert said.format(file=tmp_path / "losses" / "mine.py") in str(refused.value)


def test_nan_from_logits_that_are_nan_is_not_blamed_on_the_loss(tmp_path: Path) -> None:
    assert updated(tmp_path, "return logits.mean()", [[float("nan"), 1.0], [1.0, 0.0]]).isnan()


def test_an_import_that_raises_anything_is_refused_with_its_line(tmp_path: Path) -> None:
    for number, body in enumerate(("raise KeyboardInterrupt", "sys.exit(1)", "1 / 0")):
        folder = write_loss(tmp_path / str(number), "return logits.mean()")
        (folder / "losses" / "mine.py").write_text(f"import sys\n{body}\n")
        with pytest.raises(UserError, match=r"the import of .*mine\.py failed: .*mine\.py, line 2\)"):
            load_loss("mine", [folder])


@pytest.mark.slow
def test_a_loss_that_ends_the_process_is_no_reason_to_run_the_command_again(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, "--config-dir", str(write_loss(tmp_path / "own", "os._exit(3)")), "loss=mine"]
    done = w2s_inside("train", *words, code=1)
    assert "its worker ended with code 3: the stage ended the process" in done.stderr
    assert "continues from the last checkpoint" not in done.stderr


@pytest.mark.slow
def test_a_stage_without_progress_is_named_with_its_log(
    w2s_inside: Run, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "SILENT_S", 0.3)
    slow = write_loss(tmp_path / "own", "import time; time.sleep(1.5); return logits.mean()")
    words = [*tiny, "--config-dir", str(slow), "loss=mine", "train.epochs=0.1"]
    said = w2s_inside("train", *words).stdout
    assert "student (local, mine, seed 0): no progress for " in said
    assert "log.txt; Ctrl-C twice ends it" in said
