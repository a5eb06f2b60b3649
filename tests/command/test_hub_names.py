"""`w2s train weak=gpt2 strong=qwen`, word for word, against a hub cache in the hub's own layout and file names."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import sentences, without_free_memory, write_jsonl
from tests.tiny_models import make_hub_cache, make_model

Run = Callable[..., subprocess.CompletedProcess[str]]

GPT2 = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
QWEN = "060db6499f32faf8b98477b0a26969ef7d8b9987"


@pytest.fixture
def hub_home(tmp_path: Path) -> Path:
    """HF_HOME with the two models of the command."""
    make_hub_cache(tmp_path / "hf", "gpt2", "gpt2", GPT2)
    make_hub_cache(tmp_path / "hf", "Qwen/Qwen2.5-0.5B", "qwen2", QWEN)
    return tmp_path / "hf"


@pytest.mark.slow
def test_the_command_of_the_readme_runs_offline_and_its_commits_are_in_the_keys(
    w2s: Run, hub_home: Path, tmp_path: Path
) -> None:
    command = ["weak=gpt2", "strong=qwen"]
    plan = w2s("plan", *command, HF_HOME=str(hub_home)).stdout
    assert f"gpt2@{GPT2[:7]}" in plan
    assert f"qwen2.5-0.5b@{QWEN[:7]}" in plan
    out = w2s("train", *command, HF_HOME=str(hub_home)).stdout
    assert "PGR" in out
    jobs = [json.loads(path.read_text()) for path in (tmp_path / "outputs").glob("stages/finetune/*/stage.json")]
    used = sorted((job["params"]["model"]["id"], job["params"]["model"]["revision"]) for job in jobs)
    assert used == [("Qwen/Qwen2.5-0.5B", QWEN), ("Qwen/Qwen2.5-0.5B", QWEN), ("gpt2", GPT2)]


@pytest.mark.slow
def test_a_branch_that_moves_does_not_change_the_keys_of_a_running_study(
    w2s: Run, hub_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir()  # as a study that runs has it
    before = w2s("plan", "weak=gpt2", "strong=qwen", HF_HOME=str(hub_home)).stdout
    (hub_home / "hub" / "models--gpt2" / "refs" / "main").write_text("f" * 40)
    after = w2s("plan", "weak=gpt2", "strong=qwen", HF_HOME=str(hub_home)).stdout
    assert without_free_memory(after) == without_free_memory(before)
    new = w2s("plan", "weak=gpt2", "strong=qwen", "outputs=new", HF_HOME=str(hub_home)).stdout
    assert without_free_memory(new) != without_free_memory(before)


@pytest.mark.slow
@pytest.mark.parametrize(("weak", "strong"), [("opt", "llama"), ("bert", "gpt_neox")])
def test_other_families_go_through_the_whole_pipeline(w2s: Run, tmp_path: Path, weak: str, strong: str) -> None:
    make_model(tmp_path / "weak", weak)
    make_model(tmp_path / "strong", strong)
    data = write_jsonl(tmp_path / "rows.jsonl", sentences(120))
    words = ["weak=local", f"weak.path={tmp_path / 'weak'}", "strong=local", f"strong.path={tmp_path / 'strong'}"]
    words += ["data=local", f"data.path={data}", "data.text=text", "data.label=label", "bootstrap=100"]
    assert "PGR" in w2s("train", *words, "weak.max_length=64", "strong.max_length=64").stdout
