"""How stages share the machine: side by side within cores and memory, and the user's numbers hold."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.run.launcher_settings import LAUNCHER
from w2s_cli.run import sharing
from w2s_cli.run.sharing import GIB, Sharing
from w2s_cli.store import memory


def stage(millions: float | None = None, model: str | None = "m", path: Path | None = None, made_by: str = "") -> Any:
    """A stage with a model of so many parameters; without `model` one that opens none."""
    about = {"model": model, "parameters": millions} if model else {}
    inputs = {"model": made_by} if made_by else {}
    traits = SimpleNamespace(gives="labels", trains=True, shared=True)
    kind = SimpleNamespace(optional=lambda _: None, traits=traits)
    execution = {"model_path": str(path)} if path else {}
    return SimpleNamespace(
        kind="finetune",
        name="student",
        about=about,
        identity={"params": {}},
        inputs=inputs,
        execution=execution,
        of=kind,
        upstream=lambda: list(inputs.values()),
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A machine with this many cores, and this much free memory in GiB."""

    def make(cores: int, free: float | None = 1000.0) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of the locks of GPUs
        monkeypatch.setattr(sharing, "cores", lambda: cores)
        monkeypatch.setattr(memory, "free_bytes", lambda: None if free is None else int(free * GIB))
        monkeypatch.setattr(memory, "machine_bytes", lambda: None)

    return make


def shared(*stages: Any, **launcher: Any) -> Sharing:
    graph: Any = SimpleNamespace(stages={str(number): one for number, one in enumerate(stages)})
    return Sharing(graph, graph.stages, {**LAUNCHER, **launcher})


def threads(*stages: Any, **launcher: Any) -> list[int]:
    """The threads of the stages."""
    return [need.threads for need in shared(*stages, **launcher).needs.values()]


def together(planned: Sharing, keys: Iterable[str]) -> list[str]:
    """The stages that start at once, in this order."""
    running: list[str] = []
    for key in keys:
        if planned.room(key, running):
            running.append(key)
    return running


def test_the_processes_of_a_stage_divide_its_threads_and_each_need_its_memory(machine: Any) -> None:
    machine(8)
    (one,), (four,) = (shared(stage(2000.0), processes=count).needs.values() for count in (1, 4))
    assert (one.threads, one.processes) == (8, 1)
    assert (four.threads, four.processes) == (2, 4)
    assert four.bytes == 4 * one.bytes
    (named,) = shared(stage(2000.0), resources={"finetune": {"processes": 4}}).needs.values()
    assert named == four
    assert shared(stage(model=None), processes=4).needs["0"].processes == 1  # without a model
    planned = shared(stage(0.1), stage(0.1), processes=8)
    assert [need.threads for need in planned.needs.values()] == [1, 1]
    assert together(planned, "01") == ["0"]  # its processes have all cores


def test_a_narrow_model_has_one_thread_and_a_large_one_has_all_cores(machine: Any, tmp_path: Path) -> None:
    machine(4)
    assert threads(stage(0.2), stage(0.5), stage(135), stage(7000)) == [1, 2, 4, 4]
    assert threads(stage(None), stage(model=None)) == [4, 1]  # of unknown size, and without a model
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 4000)
    assert threads(stage(None, path=tmp_path)) == [1]  # by the size of its weights
    assert threads(stage(0.2), stage(None, made_by="0")) == [1, 1]  # a label stage has the size of its model


def test_numbers_of_the_user_hold(machine: Any) -> None:
    machine(8)
    assert threads(stage(0.2), stage(135), jobs=2) == [1, 4]
    assert threads(stage(0.2), stage(135), threads=3) == [3, 3]
    narrow = [stage(0.2)] * 5
    assert together(shared(*narrow, jobs=1), "01234") == ["0"]
    assert together(shared(*narrow, jobs=3, threads=8), "01234") == ["0", "1", "2"]
    assert together(shared(*narrow, threads=3), "01234") == ["0", "1"]


def test_stages_run_side_by_side_until_the_cores_are_taken(machine: Any) -> None:
    machine(2)
    planned = shared(stage(0.2), stage(0.2), stage(0.2), stage(135))
    assert together(planned, "0123") == ["0", "1"]
    assert together(planned, "3012") == ["3"]
    assert not planned.room("3", ["0"])
    machine(1)
    assert together(shared(stage(0.2), stage(0.2)), "01") == ["0"]


def test_memory_is_counted_before_a_second_stage_starts_and_one_stage_always_runs(machine: Any) -> None:
    machine(8, free=1.5)
    narrow = [stage(0.2)] * 3
    planned = shared(*narrow)
    assert together(planned, "012") == ["0", "1"]
    machine(8, free=1.1)
    assert together(shared(*narrow), "012") == ["0"]
    assert together(shared(*narrow, jobs=3), "012") == ["0", "1", "2"]  # the user's number holds
    machine(8, free=1.0)
    assert together(shared(stage(7000)), "0") == ["0"]
    machine(8, free=None)  # unknown: not counted
    assert together(shared(*narrow), "01") == ["0", "1"]


def test_a_gpu_has_one_stage_with_a_model_at_a_time_unless_the_user_says_more(machine: Any) -> None:
    machine(8)
    for device in ("cuda", "cuda:1", "mps"):
        planned = shared(stage(2.56), stage(2.56), stage(model=None), device=device)
        assert [need.device for need in planned.needs.values()] == [True, True, False]
        assert planned.devices is not None
        assert [planned.devices.take(key) for key in "01"] == [[device], None]
        planned.devices.give_back("0")
    planned = shared(stage(2.56), stage(2.56), device="cuda", jobs=2)
    assert planned.devices is not None
    assert [planned.devices.take(key) for key in "01"] == [["cuda"], ["cuda"]]


def test_the_cores_are_divided_by_the_gpus(machine: Any) -> None:
    machine(8)
    planned = shared(*(stage(2.56) for _ in range(4)), device=["cuda:0", "cuda:1"])
    assert [need.threads for need in planned.needs.values()] == [4, 4, 4, 4]
    assert together(planned, "0123") == ["0", "1", "2", "3"], "the GPUs decide, not the cores"


def test_nothing_is_counted_of_stages_that_run_elsewhere(machine: Any) -> None:
    machine(1, free=0.1)
    planned = shared(stage(70e3), stage(70e3), stage(70e3), name="command", jobs=2)
    assert together(planned, "012") == ["0", "1"]
    assert planned.needs["0"].threads is None


def test_the_cores_are_those_of_the_affinity_the_quota_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing.os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(memory, "cpu_quota", lambda: 6.4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert sharing.cores() == 6
    for wanted, cores in (("4", 4), ("4,2", 4), ("32", 6), ("0", 6), ("many", 6)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        assert sharing.cores() == cores
    monkeypatch.setattr(memory, "cpu_quota", lambda: 0.3)
    assert sharing.cores() == 1


def test_the_quota_of_a_control_group_is_read_in_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_control_groups", lambda _: [tmp_path])
    assert memory.cpu_quota() is None
    (tmp_path / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert memory.cpu_quota() == 1.5
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert memory.cpu_quota() == 2.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert memory.cpu_quota() is None
