"""A training that learned nothing ends with a mark on its cells and with advice, not with a figure that looks like others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sentences, without_weak, write_jsonl

MARK = "!: a model behind it has learned nothing that shows, see the cautions"


def changed(words: Sequence[str], *new: str) -> list[str]:
    """The words with other values of some fields."""
    names = {word.partition("=")[0] for word in new}
    return [*(word for word in words if word.partition("=")[0] not in names), *new]


def cells(table: str) -> dict[str, str]:
    """Column → cell of a table with one row."""
    head, row = (line.split() for line in table.splitlines()[1:3])
    return dict(zip(head, row, strict=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "role", "caution", "advice"),
    [
        (["strong.lr=1.0"], "student", "the training of the strong student diverged", "lower the learning rate"),
        (
            ["weak.lr=1e-9"],
            "weak",
            "the weak supervisor predicts one class on nearly all",
            "more epochs (train.epochs)",
        ),
    ],
    ids=["a finite loss that explodes", "a weak supervisor at chance"],
)
def test_a_role_that_learned_nothing_is_marked_with_advice(
    w2s_inside: Any, tiny: list[str], tmp_path: Path, words: list[str], role: str, caution: str, advice: str
) -> None:
    done = w2s_inside("train", *changed(tiny, *words))
    for shown in (done.stdout, w2s_inside("table").stdout):
        [line] = [line for line in shown.splitlines() if line.startswith(f"Caution: {caution}")]
        assert advice in line
    table = w2s_inside("table").stdout
    assert cells(table)[role].endswith("!")
    assert MARK in table
    [model] = tmp_path.glob(f"outputs/stages/finetune/{role}-*/result/manifest.json")
    loss = json.loads(model.read_text())["metrics"]["final_loss"]
    assert (loss > 1.5) == ("diverged" in caution), "the loss itself, from the training"


@pytest.mark.slow
def test_a_training_on_texts_that_unlearns_is_marked_with_advice(w2s_inside: Any, tmp_path: Path) -> None:
    words = ["method=naive_text", "data=arithmetic", "debug=tiny", "weak=arithmetic-s", "strong=arithmetic-l"]
    done = w2s_inside("train", *words, "student.lr=1.0")
    for shown in (done.stdout, w2s_inside("table").stdout):
        [line] = [line for line in shown.splitlines() if "diverged" in line]
        assert line.startswith("Caution: the training of the strong student diverged")
        assert "or set tune.warmup or tune.max_grad_norm" in line
    table = w2s_inside("table").stdout
    assert cells(table)["student"].endswith("!")
    assert MARK in table
    [model] = tmp_path.glob("outputs/stages/tune/student-*/result/manifest.json")
    metrics = json.loads(model.read_text())["metrics"]
    assert metrics["final_loss"] > 2 * metrics["first_loss"] > 1


def test_a_student_of_labels_of_one_class_is_marked_with_advice(
    w2s_inside: Any, tiny: list[str], tmp_path: Path
) -> None:
    rows = [{"id": row["id"], "p": 0.97} for row in sentences(240)]
    w2s_inside("train", *without_weak(tiny), "labels=file", f"labels.path={write_jsonl(tmp_path / 'one.jsonl', rows)}")
    table = w2s_inside("table").stdout
    assert cells(table)["student"].endswith("!")
    assert MARK in table
    assert "Caution: the strong student predicts one class on nearly all test rows" in table


def test_a_sound_run_has_no_mark(w2s_inside: Any, ran: list[str]) -> None:
    assert "!" not in w2s_inside("table").stdout
