"""The threads of a stage: by the size of its matmuls and the stages beside it, from the plan and the machine alone."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.pipeline.test_families import planned
from tests.unit.run.launcher_settings import LAUNCHER
from w2s_cli.pipeline.graph import Graph
from w2s_cli.run import sharing
from w2s_cli.run.sharing import GIB, Sharing
from w2s_cli.run.threads import Work, side_by_side, threads
from w2s_cli.store import memory


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with this many cores, and this much memory in GiB."""

    def make(cores: int, gib: float = 1000.0) -> None:
        monkeypatch.setattr(sharing, "cores", lambda: cores)
        monkeypatch.setattr(memory, "machine_bytes", lambda: int(gib * GIB))

    return make


def of(graph: Graph, *names: str) -> list[int]:
    """The threads of the stages `names` of a graph's first job."""
    needs = Sharing(graph, graph.stages, LAUNCHER).needs
    return [needs[graph.jobs[0].names[name]].threads for name in names]


def sized(weak: float, strong: float) -> list[str]:
    """Words for models of so many million parameters."""
    return [f"weak.parameters={weak}", f"strong.parameters={strong}", "strong.batch_size=400", "weak.batch_size=400"]


def test_more_threads_come_with_larger_matmuls_and_fewer_neighbours() -> None:
    assert [threads(Work(1, product), 1, 4) for product in (0, 5e6, 14e6, 16e6, 30e6, 1e9)] == [1, 1, 1, 2, 3, 4]
    assert [threads(Work(1, 1e9), beside, 4) for beside in (1, 1.5, 2, 4, 50)] == [4, 3, 2, 1, 1]


def test_the_neighbours_are_the_mean_over_the_time_of_a_stage() -> None:
    upstream: dict[str, list[str]] = {"weak": [], "ceiling": [], "labels": ["weak"], "student": ["labels"]}
    beside = side_by_side(upstream, {"weak": 1.0, "ceiling": 4.0, "labels": 0.0, "student": 4.0})
    assert beside == {"weak": 2.0, "ceiling": (2 * 1 + 2 * 3) / 4, "labels": 1.0, "student": (2 * 3 + 1 * 1) / 4}
    assert side_by_side({"one": []}, {"one": 7.0}) == {"one": 1.0}
    assert side_by_side({}, {}) == {}


def test_a_student_beside_its_ceiling_shares_the_cores_and_one_that_runs_alone_has_them_all(
    machine: Any, tmp_path: Path
) -> None:
    machine(2)
    names = ("weak", "ceiling", "student")
    assert of(planned(tmp_path, *sized(1, 50), "data.limits.weak_train=400"), *names) == [1, 1, 1]
    assert of(
        planned(tmp_path, *sized(50, 50), "data.limits.weak_train=4000", "data.limits.strong_train=1000"), *names
    ) == [1, 1, 2]
    assert of(planned(tmp_path, *sized(50, 50), "method=baselines"), "ceiling") == [1]
    machine(8)
    assert of(planned(tmp_path, *sized(1, 50), "data.limits.weak_train=400"), "student") == [4]


def test_stages_that_do_not_fit_the_memory_together_have_the_cores_of_one(machine: Any, tmp_path: Path) -> None:
    graph = planned(tmp_path, *sized(1, 50))
    machine(2, gib=1000.0)
    assert of(graph, "student") == [1]
    machine(2, gib=3.0)
    assert of(graph, "student") == [2]


def test_small_batches_of_short_texts_gain_nothing_from_a_second_thread(machine: Any, tmp_path: Path) -> None:
    machine(2, gib=1.0)  # nothing runs beside
    assert of(planned(tmp_path), "weak", "student", "student_test") == [1, 1, 2]  # test rows are read many at a time
    assert of(planned(tmp_path, "strong.batch_size=400"), "student") == [2]
    assert of(planned(tmp_path, "train=probe"), "student") == [1]  # a linear head


def test_what_is_finished_changes_no_number_of_threads(machine: Any, ran: list[str], tmp_path: Path) -> None:
    machine(2)
    before, after = (planned(tmp_path / folder, *ran) for folder in ("empty", "outputs"))
    needs = Sharing(before, before.stages, LAUNCHER).needs
    assert Sharing(after, after.stages, LAUNCHER).needs == needs
    last = [*after.stages][-3:]
    assert Sharing(after, last, LAUNCHER).needs == {key: needs[key] for key in last}
