"""scripts/gpu_check: every check runs, here with tiny shapes on the CPU; a check that fails or has no time is told, and the others run."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import __main__ as gpu_check
from scripts.gpu_checks import estimate, peaks, processes, report, settings, shapes, stages
from scripts.gpu_checks.settings import LARGE, SMALL, NotHere, Turn
from tests.conftest import ROOT, environment

ROW = {"what", "figure", "unit", "target", "better", "ok", "note"}
ABOUT = {"command", "date", "size", "device", "minutes", "machine", "finished", "passed", "checks"}


def run(folder: Path, *words: str, **extra: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The real script on the CPU, and what it has written."""
    arguments = [*words, "--device", "cpu", "--shapes", "tiny", "--json", str(folder / "found.json")]
    done = subprocess.run(
        [str(ROOT / "scripts" / "gpu_check"), *arguments, "--work", str(folder)],
        env=environment(W2S_PYTHON=sys.executable, **extra),
        capture_output=True,
        text=True,
        timeout=480,
    )
    return done, json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_every_check_runs_and_passes_on_a_cpu_with_tiny_shapes(tmp_path: Path) -> None:
    done, found = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(found) == ABOUT
    assert (found["finished"], found["passed"], found["machine"]["gpu"]) == (True, True, None)
    assert found["machine"]["packages"]["torch"]
    planned = [(job.check, job.shape) for job in gpu_check.jobs([])]
    assert {name for name, _ in planned} == set(gpu_check.names())
    assert [(one["check"], one["shape"]) for one in found["checks"]] == planned
    for one in found["checks"]:
        assert (one["state"], one["passed"], one["why"], one["log"]) == ("done", True, "", "")
        assert one["rows"]
        assert all(set(row) == ROW and row["figure"] is not None and row["what"] in done.stdout for row in one["rows"])
    judged = {one["check"] for one in found["checks"] if any(row["ok"] for row in one["rows"])}
    assert judged == {"attention", "steps", "resume", "generation", "labelling", "checkpoint", "side_by_side"}
    rates = [row for one in found["checks"] for row in one["rows"] if row["unit"].endswith("tokens/s")]
    assert len(rates) == 2 * (2 + 2 + 3)  # w2s and Trainer in trainings and labels, w2s and generate twice
    assert all(row["figure"] > 0 and row["target"] is None for row in rates)
    assert not list(tmp_path.glob("w2s-gpu-check-*"))  # nothing of the scratch folder stays


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("gpu_check.steps", "killed by signal 9"),
        pytest.param("gpu_check.steps=nomemory", "RuntimeError: DefaultCPUAllocator", marks=pytest.mark.slow),
    ],
)
def test_a_check_that_dies_fails_the_command_and_the_others_run(tmp_path: Path, fault: str, why: str) -> None:
    done, found = run(tmp_path, "steps", "checkpoint", W2S_FAULT=fault)
    assert done.returncode == 1
    broken, other = found["checks"]
    assert (broken["check"], broken["state"], broken["passed"], broken["rows"]) == ("steps", "failed", False, [])
    assert why in broken["why"]
    assert why in done.stdout
    assert ("nomemory" in fault) == ("Traceback" in broken["log"])
    assert (other["check"], other["passed"]) == ("checkpoint", True)
    assert (found["passed"], found["finished"]) == (False, True)


@pytest.mark.slow
def test_a_device_that_cannot_be_used_is_one_message(tmp_path: Path) -> None:
    words = [str(ROOT / "scripts" / "gpu_check"), "--json", str(tmp_path / "none.json")]
    hidden = environment(W2S_PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="none")
    done = subprocess.run(words, env=hidden, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu_check: the device cuda cannot be used (")
    assert not (tmp_path / "none.json").exists()


def test_an_unknown_check_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_check.main(["nonsense"])
    assert "there is no check nonsense; there are attention" in capsys.readouterr().err


def some_answer(**fields: Any) -> processes.Answer:
    made = [record("p", "ratio", [2.0], "×", target=1.5), Record("p", "rate", 9.0, "tokens/s")]
    return processes.Answer(processes.DONE, records=[asdict(replace(one, **fields)) for one in made])


def test_what_was_measured_is_in_the_file_after_each_check(tmp_path: Path) -> None:
    found = report.Report(tmp_path / "a" / "found.json", {"machine": {}})
    found.add(report.Ran("one", "small", some_answer(), 1.0, 2.0))
    written = json.loads(found.path.read_text())
    assert [row["what"] for row in written["checks"][0]["rows"]] == ["ratio", "rate"]
    assert (written["finished"], written["passed"]) == (False, True)
    found.add(report.Ran("two", "small", processes.Answer(processes.SKIPPED, "no room"), 0.0, 2.0))
    assert found.passed  # what did not run has not failed
    found.add(report.Ran("three", "small", some_answer(met=False), 1.0, 2.0))
    assert not found.passed
    states = [(one["state"], one["passed"]) for one in json.loads(found.path.read_text())["checks"]]
    assert states == [("done", True), ("skipped", None), ("done", False)]


def test_nothing_that_ran_is_no_pass(tmp_path: Path) -> None:
    found = report.Report(tmp_path / "found.json", {})
    found.add(report.Ran("one", "small", processes.Answer(processes.SKIPPED, "no time"), 0.0, 2.0))
    assert not found.passed


def test_a_figure_that_is_no_number_misses_its_target_and_is_null_in_the_file(tmp_path: Path) -> None:
    broken = processes.finite(asdict(record("p", "difference", [float("nan")], "nats", better="less", target=1.0)))
    assert (broken["value"], broken["met"]) == (None, False)
    found = report.Report(tmp_path / "found.json", {})
    found.add(report.Ran("one", "small", processes.Answer(processes.DONE, records=[broken]), 0.0, 2.0))
    assert json.loads(found.path.read_text())["checks"][0]["rows"][0]["figure"] is None
    assert stages.largest_difference([0.5, 0.4], [0.5]) == float("inf")


def test_a_check_without_enough_time_left_is_skipped_and_says_so(tmp_path: Path) -> None:
    job = gpu_check.Job("attention", SMALL, Turn(1, 30.0))
    ran = gpu_check._ran(job, settings.tiny(tmp_path), time.monotonic() + 12)
    assert (ran.answer.state, ran.passed) == ("skipped", None)
    assert ran.answer.why == "about 30 s are needed, 12 are left of --minutes"


def test_the_expected_times_of_all_checks_fit_the_eight_minutes() -> None:
    assert sum(job.turn.seconds for job in gpu_check.jobs([])) < 8 * 60 - 30
    assert [job.check for job in gpu_check.jobs([])][:3] == ["attention", "steps", "resume"]


def test_a_check_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    tiny = replace(settings.tiny(tmp_path), device="cpu", start="spawn")
    answer = processes.run_check("steps", "bundled", tiny, 0.01)
    assert (answer.state, answer.why) == ("failed", "not done after 0 s, and killed")


@pytest.mark.parametrize(
    ("card", "teraflops"),
    [
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA L40", None),
    ],
)
def test_a_cards_peak_is_its_datasheets_or_measured(card: str, teraflops: float | None) -> None:
    found = peaks.datasheet(card)
    assert found == (None if teraflops is None else teraflops * 1e12)


@pytest.mark.parametrize(
    ("shape", "parameters", "matrices"),
    [(SMALL, 0.494e9, 24 * (2 * 896**2 + 2 * 896 * 128 + 3 * 896 * 4864)), (LARGE, 6.61e9, 32 * (4 * 4096**2 + 3 * 4096 * 11008))],
)  # fmt: skip
def test_shapes_have_the_sizes_of_the_models_that_they_are_named_after(
    tmp_path: Path, shape: str, parameters: float, matrices: int
) -> None:
    model = shapes.classifier(settings.full(tmp_path).on("meta"), shape)
    counted = sum(weight.numel() for weight in model.parameters())
    assert counted == pytest.approx(parameters, rel=0.005)
    assert shapes.matrix_weights(model) == matrices


def test_adapters_and_smaller_micro_batches_are_taken_where_all_weights_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = settings.full(tmp_path)
    needs = {("full", 8192): 150, ("lora", 8192): 100, ("lora", 4096): 70, ("lora", 2048): 50}

    def expected(_: object, __: str, mode: str, micro_tokens: int) -> float:
        return needs[mode, micro_tokens] * estimate.GIB

    monkeypatch.setattr(estimate, "expected", expected)
    for card, chosen in ((180, ("full", 8192)), (139, ("lora", 8192)), (80, ("lora", 4096)), (60, ("lora", 2048))):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda card=card: (card * estimate.GIB, card * estimate.GIB))
        assert estimate.that_fits(full, LARGE) == chosen
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (24 * estimate.GIB, 24 * estimate.GIB))
    with pytest.raises(NotHere, match="adapters of llama-2-7b need about 50 GiB, 22 are to be had"):
        estimate.that_fits(full, LARGE)
    assert estimate.that_fits(full.on("cpu"), LARGE) == ("full", 8192)


def test_one_card_is_shown_to_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_check._card(1) == "1"
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "3,GPU-5")
    assert [gpu_check._card(0), gpu_check._card(1)] == ["3", "GPU-5"]
