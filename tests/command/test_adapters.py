"""Adapters through the whole command: kept in the store, read by labels and texts, and found again by a plan."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.command.test_wrong_commands import assert_refused
from tests.tiny_models import make_model
from w2s_cli.store.files import read_json
from w2s_cli.training.models.folder import kept_adapters

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
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


@pytest.mark.slow
def test_adapters_are_exported_as_a_plain_model_that_predicts_the_labels_of_the_run(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    limits = "data.limits={weak_train: 32, strong_train: 32, test: 32}"
    (strong,) = (word.partition("=")[2] for word in tiny if word.startswith("strong.path="))
    base = Path(shutil.copytree(strong, tmp_path / "base"))
    words = [word.replace(strong, str(base)) for word in tiny] + ["train=lora", limits]
    w2s_inside("train", *words)
    stages = tmp_path / "outputs" / "stages"
    (student,) = stages.glob("finetune/student-*")
    key = student.name[-12:]
    w2s_inside("export", "latest", "out=whole")
    whole = tmp_path / "whole"
    assert not {path.name for path in whole.iterdir()} & {"base.json", "adapter_config.json", "adapters"}
    modes = {path.name: path.stat().st_mode for path in whole.iterdir()}
    assert set(modes.values()) == {modes["README.md"]}  # by the umask
    assert "base model: local, a model in a folder (sha256" in (whole / "README.md").read_text()
    (rows,) = (pq.read_table(path) for path in stages.glob("rows/*-test-*/result/rows.parquet"))
    (labels,) = (pq.read_table(path) for path in stages.glob("label/student-*/result/labels.parquet"))
    assert labels["id"] == rows["id"]
    model, tokenizer = (part.from_pretrained(whole) for part in (AutoModelForSequenceClassification, AutoTokenizer))
    batch = tokenizer(rows["text"].to_pylist(), return_tensors="pt", padding=True)
    with torch.inference_mode():
        p = model(batch["input_ids"], batch["attention_mask"]).logits.softmax(-1)
    torch.testing.assert_close(p, torch.tensor(labels["p"].to_pylist(), dtype=p.dtype), atol=1e-5, rtol=0)

    w2s_inside("push", "shared")
    w2s_inside("pull", "shared", key, "outputs=theirs")  # whose stage does not say where the base is
    assert_refused(w2s_inside("export", key, "out=b", "outputs=theirs", code=2), "is unknown here: give it with --base")
    w2s_inside("export", key, "out=b", "outputs=theirs", "--base", str(base))
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    other = make_model(tmp_path / "other", "llama")
    refused = w2s_inside("export", key, "out=c", "--base", str(other), code=2)
    assert_refused(refused, f"{other} is not the model that the adapters of student-")
    os.rename(base, tmp_path / "moved")
    assert_refused(w2s_inside("export", key, "out=c", code=2), f"is not at {base}: give it with --base DIR")
    w2s_inside("export", key, "out=c", "--base", "moved")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(
        ["b", "c", "moved", "other", "outputs", "shared", "theirs", "whole"]
    ), "nothing unfinished is left"


@pytest.mark.slow
def test_a_run_takes_the_adapters_of_another_store_that_its_stages_read_and_no_others(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, "train=lora", "data.limits={weak_train: 32, strong_train: 32, test: 32}"]
    table = w2s_inside("train", *words).stdout
    os.rename(tmp_path / "outputs", tmp_path / "theirs")
    for pattern in ("label/student-*", "evaluate/*-s0-*"):
        (stage,) = (tmp_path / "theirs" / "stages").glob(pattern)
        shutil.rmtree(stage)
    assert (
        "11 stages, 2 to run, 9 cached, 9 of them in another" in w2s_inside("plan", *words, "remotes=[theirs]").stdout
    )
    again = w2s_inside("train", *words, "remotes=[theirs]").stdout
    figures = [text[text.index("local → local") : text.index("time per stage")] for text in (table, again)]
    assert figures[0] == figures[1]
    ran = {path.parents[1].name for path in (tmp_path / "outputs" / "stages").glob("*/*/log.txt")}
    assert "label" in ran
    assert "finetune" not in ran
    kept = (tmp_path / "outputs" / "stages").glob("finetune/*/result/model/adapter_model.safetensors")
    assert {path.parents[2].name.partition("-")[0] for path in kept} == {"student"}
    for path in (tmp_path / "outputs" / "stages").glob("finetune/*/result/model/base.json"):
        assert "sha256" in read_json(path)["model"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.optimizer=adamw8bit"], "optimizer=adamw8bit has a scale for each 256 values of a weight"),
        (["train=qlora"], "a base in nf4 cannot lie in parts on the processes"),
    ],
)
def test_what_cannot_lie_in_parts_is_refused_before_a_run(
    w2s_inside: Run, tiny: list[str], words: list[str], said: str
) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    several = ["launcher.processes=2", "launcher.device=cpu"]
    for command in ("plan", "train"):
        refused = w2s_inside(command, *tiny, *words, *several, "launcher.fsdp=true", code=2)
        assert_refused(refused, f'stage "weak": {said}', "launcher.fsdp=false")
    w2s_inside("plan", *tiny, *words, *several)


def test_a_pretraining_with_moments_in_8_bits_is_checked_too(w2s_inside: Run) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    words = ["pretrain=wordnet-xs", "pretrain.optimizer=adamw8bit", "launcher.processes=2", "launcher.device=cpu"]
    refused = w2s_inside("pretrain", *words, "launcher.fsdp=true", code=2)
    assert_refused(refused, "optimizer=adamw8bit has a scale for each 256 values")
