"""Adapters through the whole command: kept in the store, read by labels and texts, and found again by a plan."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from w2s_cli.training.models.folder import kept_adapters

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("way", ["lora", "qlora"])
def test_a_run_with_adapters_keeps_a_small_result_and_reads_it(
    w2s_inside: Run, tiny: list[str], tmp_path: Path, way: str
) -> None:
    if way == "qlora":
        pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    quick = [*tiny, f"train={way}", "data.limits={weak_train: 32, strong_train: 32, test: 32}", "method=naive"]
    done = w2s_inside("train", *quick)
    assert "PGR" in done.stdout or "ceiling" in done.stdout
    results = list((tmp_path / "outputs" / "stages" / "finetune").glob("*/result/model"))
    assert len(results) == 3
    assert all(kept_adapters(folder) for folder in results)
    assert "3 to run" not in w2s_inside("plan", *quick).stdout
    assert "11 cached" in w2s_inside("plan", *quick).stdout


def test_the_old_name_of_the_rank_is_told(w2s_inside: Run, tiny: list[str]) -> None:
    said = w2s_inside("plan", *tiny, "train=lora", "train.lora.r=4", code=2).stderr
    assert "train.lora.r is called train.lora.rank now." in said


def test_a_missing_package_is_told_before_a_run(
    w2s_inside: Run, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        "w2s_cli.pipeline.packages.importlib.util.find_spec",
        lambda name, *rest: None if name == "bitsandbytes" else found(name, *rest),
    )
    for words, what in ((["train=qlora"], "a base in nf4"), (["train.optimizer=adamw8bit"], "optimizer=adamw8bit")):
        said = w2s_inside("train", *tiny, *words, code=2).stderr
        assert f"{what} needs the package bitsandbytes, which is not installed" in said
        w2s_inside("plan", *tiny, *words)  # of a run on another machine
