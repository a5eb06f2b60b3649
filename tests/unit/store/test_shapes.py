"""Shapes: what a file of a store must be for its readers."""

import json
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from w2s_cli.store.files import read_json
from w2s_cli.store.keys import identity, stage_key
from w2s_cli.store.shapes import Execution, File, Manifest, Record, fits, read_own_job


class Point(TypedDict):
    x: float
    name: NotRequired[str | None]


TRACKER = {"names": ["wandb"], "group": "a-run", "methods": ["naive"], "about": {"model": "gpt2", "seed": 0}}
FITTING: list[tuple[Any, Any]] = [
    *((1, int), (1, float), (1.5, float), (True, bool), ("a", str), (None, str | None), (None, Any), ({}, Any)),
    *(([], list[int]), ([1], list[int]), ({"a": 1}, dict[str, int]), ({"a": "b"}, dict), ([1, "a"], tuple[int, str])),
    *(({"x": 1}, Point), ({"x": 1, "name": None, "more": []}, Point), (2, Annotated[int, lambda value: value > 1])),
    *(({}, Execution), ({"tracker": TRACKER}, Execution)),
    *(({}, Record), ({"files": {}, "metrics": {}}, Manifest), ({"size": 0, "sha256": ""}, File)),
]
UNFIT: list[tuple[Any, Any]] = [
    *(
        (True, int),
        (True, float),
        (1.0, int),
        ("1", int),
        (1, str),
        (0, bool),
        (None, str),
        (2**63, int),
        (10**400, float),
    ),
    *(
        (float("nan"), float),
        (float("inf"), float),
        ([1.5], list[int]),
        ({}, list[int]),
        ([], dict),
        ({"a": []}, dict[str, int]),
    ),
    *(([1], tuple[int, str]), ([1, "a", 2], tuple[int, str]), (1, Annotated[int, lambda value: value > 1])),
    *(({}, Point), ({"x": None}, Point), ({"x": 1, "name": 2}, Point), ([], Point), (None, Point)),
    *(({"tracker": {**TRACKER, "names": [name]}}, Execution) for name in ("../x", "/x", "", "a b", "a\0")),
    *(({"tracker": {**TRACKER, "about": {"model": []}}}, Execution), ({"tracker": None}, Execution)),
    *(({"ended": 1e300}, Record), ({"ended": -1}, Record), ({"result": 1}, Record), ({"pruned": "all"}, Record)),
    *(
        ({"files": {name: {"size": 1, "sha256": ""}}, "metrics": {}}, Manifest)
        for name in ("../x", "a/../b", "/x", "", ".")
    ),
]


@pytest.mark.parametrize(("value", "shape"), FITTING, ids=map(str, range(len(FITTING))))
def test_a_value_of_the_shape_fits(value: Any, shape: Any) -> None:
    assert fits(value, shape)


@pytest.mark.parametrize(("value", "shape"), UNFIT, ids=map(str, range(len(UNFIT))))
def test_any_other_value_does_not(value: Any, shape: Any) -> None:
    assert not fits(value, shape)


@pytest.mark.parametrize(
    "text", ["", "{", "[1", '{"a": NaN}', '{"a": Infinity}', '"\\ud800"', "[" * 100_000, "\ufeff{}", "\xff"]
)
def test_what_is_no_json_reads_as_missing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="latin-1" if text == "\xff" else "utf-8")
    assert read_json(path) is None


def test_a_stage_file_with_another_identity_than_its_folder_is_not_read(tmp_path: Path) -> None:
    ident = identity("label", 1, {"a": 1}, {"rows": "0" * 12})
    folder = tmp_path / f"weak-{stage_key(ident)}"
    folder.mkdir()
    job = {**ident, "name": "n", "key": stage_key(ident), "execution": {}}
    (folder / "stage.json").write_text(json.dumps(job))
    assert read_own_job(folder) == job
    for edited in ({"params": {"a": 2}}, {"version": 2}, {"inputs": {}}, {"kind": "rows"}, {"format": 1}):
        (folder / "stage.json").write_text(json.dumps(job | edited))
        assert read_own_job(folder) is None


@pytest.mark.parametrize("number", ["1e999", "-1e999", "Infinity", "NaN"])
def test_a_number_beyond_all_numbers_is_no_json(tmp_path: Path, number: str) -> None:
    (tmp_path / "stage.json").write_text(f'{{"params": {{"a": {number}}}}}')
    assert read_json(tmp_path / "stage.json") is None
