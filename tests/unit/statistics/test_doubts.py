"""Doubtful comparisons: told in words, and marked in tables."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.stored_results import read_entries, run_w2s, store_run, write_entries
from w2s_cli.stages import _cautions
from w2s_cli.statistics.doubts import has_diverged, is_doubtful, weak_at_chance

JOB = {"data": "sciq", "weak": "small", "strong": "large", "loss": "xent", "seed": 0, "levels": (0.7, 0.8, 0.9)}


def test_a_loss_above_twice_that_of_equal_guesses_has_diverged() -> None:
    assert not has_diverged(math.log(2) * 1.9, 2)
    assert has_diverged(math.log(2) * 2.1, 2)
    assert not has_diverged(math.log(2) * 2.1, 5)


def test_a_training_on_texts_has_diverged_if_it_ends_far_above_its_first_update() -> None:
    assert not has_diverged(2.9, None, first=3.0)
    assert has_diverged(7.0, None, first=3.0), "the entropy of single words: a broken model"
    assert not has_diverged(1.3, None, first=math.log(2)), "pairs begin with an equal guess"
    assert has_diverged(1.5, None, first=math.log(2))
    assert not has_diverged(0.2, None, first=0.01), "what was learned before begins near 0"
    assert not has_diverged(20.0, None)  # of an older version, without the first loss
    assert has_diverged(1e4, None)


@pytest.mark.parametrize(
    ("accuracy", "low", "expected"), [(0.52, 0.49, True), (0.52, 0.51, False), (0.6, 0.45, False), (0.4, 0.3, True)]
)
def test_a_weak_supervisor_is_at_chance_near_the_largest_class_if_its_interval_holds_it(
    accuracy: float, low: float, expected: bool
) -> None:
    metrics = {"weak": {"accuracy": accuracy, "interval": [low, 0.7], "per_seed": {}}, "majority": 0.5}
    assert weak_at_chance(metrics) == is_doubtful(metrics) == expected
    lines = _cautions.comparison(metrics, {}, {"seeds": [0]})
    assert any("no better than a constant answer" in line for line in lines) == expected


def table(tmp_path: Path, **changed: Any) -> str:
    """`w2s table` of one result, after the student's figures have changed so."""
    (tmp_path / "outputs" / "stages").mkdir(parents=True, exist_ok=True)
    folder = store_run(tmp_path / "outputs", [JOB], name="run")
    entries = read_entries(folder)
    entries[0]["metrics"]["student"]["per_seed"] |= changed
    write_entries(folder, entries)
    return run_w2s(tmp_path, "table", "metric=student").stdout


def test_a_diverged_training_is_marked_in_the_table_with_a_footnote_and_advice(tmp_path: Path) -> None:
    out = table(tmp_path, diverged=[True])
    (cell,) = [word for word in out.split() if word.endswith("!") and word[0].isdigit()]
    assert cell[:-1].replace(".", "").isdigit()
    assert "!: a model behind it has learned nothing that shows, see the cautions (1 cell)." in out
    assert "the training of the strong student diverged" in out
    assert "lower the learning rate" in out


def test_a_sound_result_has_no_mark(tmp_path: Path) -> None:
    assert "!" not in table(tmp_path)
