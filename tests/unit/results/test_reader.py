"""results.json and plan.json as other programs may leave them: what fits is read, the rest is counted and left out."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import w2s_cli
from tests.stored_results import read_entries, store_run, write_entries
from w2s_cli.cli import dispatch
from w2s_cli.results.reader import Run
from w2s_cli.results.text_table import results_notes, results_table
from w2s_cli.store.store import Store

JOB: dict[str, Any] = {"data": "d", "weak": "a", "strong": "b", "loss": "xent", "levels": (0.6, 0.7, 0.9)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two seeds: two results and their summary."""
    return store_run(
        tmp_path_factory.mktemp("w2s") / "outputs", [JOB | {"seed": seed} for seed in (0, 1)], name="100000-a-b"
    )


def part(item: Any, *path: str) -> Any:
    for name in path:
        item = item[name]
    return item


def put(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    """A change that gives the part of an item at `path` another value."""
    return lambda item: part(item, *path[:-1]).update({path[-1]: value})


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    return lambda item: part(item, *path[:-1]).pop(path[-1])


OF_WEAK = ("metrics", "weak", "per_seed")
UNREADABLE: dict[str, list[Callable[[dict[str, Any]], None]]] = {
    "updates that are no list": [put(3, *OF_WEAK, "updates")],
    "updates that are no numbers": [put(["x", "y"], *OF_WEAK, "updates")],
    "updates of one seed": [put([3], *OF_WEAK, "updates")],
    "no noise of several seeds": [drop("metrics", "noise")],
    "noise that is no text": [put(None, "metrics", "noise")],
    "labels that are a number": [put(5, "metrics", "student", "labels")],
    "labels of one seed": [put({"accuracy": 0.7, "per_seed": [0.7]}, "metrics", "student", "labels")],
    "no seeds": [put([], "seeds")],
    "fewer seeds than figures": [put([0], "seeds")],
    "an untrained threshold without an AUROC": [
        put([True, False], *OF_WEAK, "untrained_threshold"),
        put([None, None], *OF_WEAK, "auroc"),
    ],
    "thresholds that are no flags": [put([1, 0], *OF_WEAK, "untrained_threshold")],
    "an interval of no PGR": [put(None, "metrics", "pgr", "value"), put([0.0, 1.0], "metrics", "pgr", "interval")],
    "PGR without a ceiling": [drop("metrics", "ceiling")],
    "a difference without an interval": [put(None, "metrics", "differences", "ceiling_minus_weak", "interval")],
    "a weak model that is a number": [put(123, "weak")],
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_result_that_cannot_be_read_is_counted_and_the_others_are_read(
    stored: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    store, whole = Store(stored.parents[2]), read_entries(stored)
    changed = copy.deepcopy(whole)
    (summary,) = (item for item in changed if item["stage"] == "summary")
    for change in UNREADABLE[case]:
        change(summary)
    write_entries(stored, changed)
    try:
        run = Run(stored, store)
        assert [entry.key for entry in run.entries] == [item["key"] for item in whole[:2]]
        assert run.missing == ["1 of the 3 entries in results.json cannot be read and are left out"]
        assert len(w2s_cli.load(stored)) == 2
        assert dispatch(["table", "--outputs", str(store.root)]) == 0
    finally:
        write_entries(stored, whole)
    assert "1 result of 100000-a-b cannot be read: left out." in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        put([30, None], *OF_WEAK, "updates"),
        put({"of": "a later w2s"}, *OF_WEAK, "further"),
        put([None, None], *OF_WEAK, "auroc"),
        put({"accuracy": 0.75, "per_seed": [0.7, 0.8]}, "metrics", "student", "labels"),
        put([True, False], *OF_WEAK, "untrained_threshold"),
    ],
)
def test_what_fits_is_read_and_shown(stored: Path, change: Callable[[dict[str, Any]], None]) -> None:
    whole = read_entries(stored)
    changed = copy.deepcopy(whole)
    change(changed[2])
    write_entries(stored, changed)
    try:
        entry = Run(stored, Store(stored.parents[2])).entries[2]
        assert results_table(entry.metrics)
        assert results_notes(entry.metrics)
        assert w2s_cli.load(stored)
    finally:
        write_entries(stored, whole)


def test_a_planned_stage_that_cannot_be_read_leaves_the_others(stored: Path) -> None:
    plan = (stored / "plan.json").read_text()
    content = json.loads(plan)
    content["stages"][1] = {"kind": 5}
    (stored / "plan.json").write_text(json.dumps(content))
    try:
        run = Run(stored, Store(stored.parents[2]))
        assert len(run.plan) == 2
        assert run.missing == ["1 of the 3 stages in plan.json cannot be read and are left out"]
    finally:
        (stored / "plan.json").write_text(plan)


@pytest.mark.parametrize("cached", ["{}", '{"rows": 5}', "[1]", "{"])
def test_joined_figures_of_another_shape_are_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cached: str
) -> None:
    for seed in (0, 1):
        store_run(tmp_path, [JOB | {"seed": seed}], name=f"10000{seed}-a-b")
    words = ["table", "--outputs", str(tmp_path)]
    assert dispatch(words) == 0
    shown = capsys.readouterr().out
    (path,) = (tmp_path / ".cache" / "tables").glob("*.json")
    path.write_text(cached)
    assert dispatch(words) == 0
    assert capsys.readouterr().out == shown
    assert json.loads(path.read_text())["seeds"] == 2
