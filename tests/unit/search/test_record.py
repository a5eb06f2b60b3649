"""search.json: what is written is read again, and a file that is damaged or of another search is none."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.json_shapes import changed
from w2s_cli.search.record import RECORD, Study, Trial, read_record, write_record
from w2s_cli.search.sampler import propose
from w2s_cli.search.space import Dimension, Interval, as_json

SPACE: list[Dimension] = [Interval("strong.lr", 1e-6, 1e-2, log=True)]
IDENTITY: dict[str, Any] = {
    "space": as_json(SPACE),
    "batch": 2,
    "metric": "accuracy",
    "seed": 0,
    "trials of": [["abc"]],
}
SETTINGS = [["loss=xent"], ["loss=kl"]]


def studies() -> list[Study]:
    trials = [
        Trial({"strong.lr": 1e-4}, "scored", 0.75, [0.7, 0.8]),
        Trial({"strong.lr": 1e-3}, "failed", why="the loss is nan"),
        Trial({"strong.lr": 1e-5}),
    ]
    return [Study(["loss=xent"], trials), Study(["loss=kl"])]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, IDENTITY, studies())
    assert read_record(tmp_path, IDENTITY, SPACE, SETTINGS) == studies()


def unsealed(folder: Path) -> dict[str, Any]:
    """The record without its digest, as an older w2s wrote it."""
    written: dict[str, Any] = json.loads((folder / RECORD).read_text())
    del written["sha256"]
    return written


def test_a_changed_score_makes_the_record_none_and_one_without_a_digest_is_read(tmp_path: Path) -> None:
    write_record(tmp_path, IDENTITY, studies())
    text = (tmp_path / RECORD).read_text()
    (tmp_path / RECORD).write_text(text.replace('"score": 0.75', '"score": 0.95'))
    assert read_record(tmp_path, IDENTITY, SPACE, SETTINGS) == [Study(words) for words in SETTINGS]
    (tmp_path / RECORD).write_text(text)
    (tmp_path / RECORD).write_text(json.dumps(unsealed(tmp_path)))
    assert read_record(tmp_path, IDENTITY, SPACE, SETTINGS) == studies()


def test_the_best_trial_has_the_best_score_and_is_the_earliest_of_equal_ones() -> None:
    study = Study([], [Trial({}, "scored", value) for value in (0.5, 0.9, 0.9, 0.1)] + [Trial({}, "failed")])
    assert study.best("accuracy") == 1
    assert study.best("cross_entropy") == 3
    assert Study([], [Trial({}, "failed")]).best("auroc") is None


@pytest.mark.parametrize(
    "change",
    [
        {"identity": {**IDENTITY, "seed": 1}},
        {"format": 2},
        {"studies": []},
        {"studies": [{"words": ["loss=xent"], "trials": [{"params": {"strong.lr": 1.0}}]}]},
    ],
)
def test_a_record_of_another_search_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    write_record(tmp_path, IDENTITY, studies())
    written = unsealed(tmp_path) | change
    (tmp_path / RECORD).write_text(json.dumps(written))
    assert read_record(tmp_path, IDENTITY, SPACE, SETTINGS) == [Study(words) for words in SETTINGS]


@pytest.mark.parametrize("trial", [{"params": {"strong.lr": 5.0}}, {"params": {}}, {"state": "done"}, {"score": None}])
def test_a_trial_outside_of_the_space_or_without_its_score_makes_the_record_none(
    tmp_path: Path, trial: dict[str, Any]
) -> None:
    write_record(tmp_path, IDENTITY, studies())
    written = unsealed(tmp_path)
    written["studies"][0]["trials"][0] |= trial
    (tmp_path / RECORD).write_text(json.dumps(written))
    assert read_record(tmp_path, IDENTITY, SPACE, SETTINGS) == [Study(words) for words in SETTINGS]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\0"])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path, IDENTITY, SPACE, SETTINGS) == [Study(words) for words in SETTINGS]
    assert read_record(None, IDENTITY, SPACE, SETTINGS) == [Study(words) for words in SETTINGS]


def test_a_record_of_any_shape_is_read_as_trials_of_the_space_or_as_none(tmp_path: Path) -> None:
    write_record(tmp_path, IDENTITY, studies())
    text, drawn = json.dumps(unsealed(tmp_path)), random.Random(0)
    kept = 0
    for _ in range(400):
        (tmp_path / RECORD).write_text(changed(text, drawn))
        read = read_record(tmp_path, IDENTITY, SPACE, SETTINGS)
        kept += any(study.trials for study in read)
        assert [study.words for study in read] == SETTINGS
        for trial in [trial for study in read for trial in study.trials]:
            assert SPACE[0].has(trial.params["strong.lr"])
            propose(SPACE, [trial], 1, larger=True, seed=[0])
    assert 0 < kept < 400
