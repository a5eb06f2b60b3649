"""tune on a pool's own texts: the model learns the domain, loads in transformers, resumes bit for bit, and is a base to finetune."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import sentences
from tests.stage_files import killed
from tests.tiny_models import make_model
from tests.unit.training.test_models import context, write_rows
from tests.unit.training.test_models import params as finetune_params
from tests.unit.training.test_training import artifacts
from w2s_cli.errors import UserError
from w2s_cli.stages import finetune, label, tune
from w2s_cli.store.context import Stopped

TEXTS = [str(row["text"]) for row in sentences(96)]
LABELS = [int(str(row["label"])) for row in sentences(96)]


def params(**changed: Any) -> dict[str, Any]:
    return {
        "model": {"sha256": "0"}, "objective": {"name": "text", "args": {}}, "mode": "full", "lora": None, "chat_template": None,
        "epochs": 2.0, "lr": 1e-2, "batch_size": 8, "schedule": "cosine", "warmup": 0.1,
        "optimizer": "adamw", "betas": [0.9, 0.95], "weight_decay": 0.01, "max_grad_norm": 1.0, "max_length": 48,
        "truncation": "right", "precision": "fp32", "seed": 0, **changed,
    }  # fmt: skip


def nats_per_token(folder: Path, texts: list[str]) -> float:
    """By transformers' own loss, text by text."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / count


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "llama", "opt", "gpt_neox"])
def test_held_out_loss_falls_and_transformers_loads_the_result(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    rows = write_rows(tmp_path / "rows", TEXTS[:64], LABELS[:64])
    ctx = context(tmp_path / "trained", model_path=str(base))
    metrics = tune.run(params(), {"rows": rows}, ctx)
    folder = ctx.result / "model"
    before, after = nats_per_token(base, TEXTS[64:]), nats_per_token(folder, TEXTS[64:])
    assert before > 5
    assert after < 4
    assert metrics["final_loss"] < before - 1
    assert metrics["tokens"] == sum(len(text) + 1 for text in TEXTS[:64])  # bytes and the end token
    assert (metrics["steps"], metrics["rows"], metrics["truncated"]["rows"]) == (16, 64, 0)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(AutoTokenizer.from_pretrained(base))


def test_the_loss_is_that_of_transformers_per_token(tmp_path: Path) -> None:
    """One update of all texts, before any weight has changed."""
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows", TEXTS[:8], LABELS[:8])
    ctx = context(tmp_path / "trained", model_path=str(base))
    metrics = tune.run(params(batch_size=8, epochs=1.0), {"rows": rows}, ctx)
    expected = nats_per_token(base, [text + "<|endoftext|>" for text in TEXTS[:8]])
    assert (metrics["steps"], metrics["final_loss"]) == (1, pytest.approx(expected, abs=1e-4))


def test_of_pairs_both_texts_are_learned_and_labels_are_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    columns = {"id": ["a", "b"], "text": ["old saw", "my hen"], "second": ["new axe ?", "big fox !"]}
    pq.write_table(pa.table(columns), folder / "rows.parquet")  # no labels at all
    base = make_model(tmp_path / "base", "llama")
    ctx = context(tmp_path / "trained", model_path=str(base))
    metrics = tune.run(params(epochs=60.0, batch_size=4), {"rows": folder}, ctx)
    assert metrics["rows"] == 4
    assert metrics["tokens"] == sum(len(text) + 1 for name in ("text", "second") for text in columns[name])
    assert all(
        nats_per_token(ctx.result / "model", [text]) < 1.0 for text in ("old saw", "my hen", "new axe ?", "big fox !")
    )


@pytest.mark.parametrize("changed", [{}, {"head": {"tokens": ["n", "y"], "suffix": "?"}}])
def test_a_finetune_on_top_learns_and_labels(tmp_path: Path, changed: dict[str, Any]) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows", TEXTS[:64], LABELS[:64])
    language = context(tmp_path / "language", model_path=str(base))
    tune.run(params(), {"rows": rows}, language)
    trained = context(tmp_path / "trained")
    metrics = finetune.run(finetune_params(model=None, **changed), {"rows": rows, "model": language.result}, trained)
    assert np.isfinite(metrics["final_loss"])
    found = label.run(finetune_params(), {"rows": rows, "model": trained.result}, context(tmp_path / "labels"))
    assert found["rows"] == 64
    again = context(tmp_path / "again")  # a further round on top of it
    further = tune.run(params(model=None, lr=1e-9), {"rows": rows, "model": language.result}, again)
    assert further["final_loss"] < 3.5


@pytest.mark.parametrize("changed", [{}, {"precision": "bf16"}])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, changed: dict[str, Any]) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    rows = write_rows(tmp_path / "rows", TEXTS[:32], LABELS[:32])
    one = tune.run(params(**changed), {"rows": rows}, context(tmp_path / "one", model_path=str(base)))
    ctx = context(tmp_path / "two", model_path=str(base))
    answers = iter([False, False, True])
    ctx.stop_requested = lambda: next(answers)
    with pytest.raises(Stopped):
        tune.run(params(**changed), {"rows": rows}, ctx)
    torch.manual_seed(999)
    two = tune.run(params(**changed), {"rows": rows}, context(tmp_path / "two", model_path=str(base)))
    assert one == two
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


@pytest.mark.parametrize("point", ["tune.start", "tune.step:5", "checkpoint.files-written:3"])
def test_killed_and_run_again_equals_uninterrupted(tmp_path: Path, point: str) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    rows = write_rows(tmp_path / "rows", TEXTS[:32], LABELS[:32])
    expected = tune.run(params(), {"rows": rows}, context(tmp_path / "one", model_path=str(base)))
    two = context(tmp_path / "two", model_path=str(base), checkpoint_seconds=0)
    killed(lambda: tune.run(params(), {"rows": rows}, two), point, tmp_path)
    again = tune.run(params(), {"rows": rows}, context(tmp_path / "two", model_path=str(base)))
    assert again == expected
    assert artifacts(tmp_path / "one") == artifacts(tmp_path / "two")


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_encoders_are_refused(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    rows = write_rows(tmp_path / "rows", TEXTS[:8], LABELS[:8])
    with pytest.raises(UserError, match=r"not a causal language model, so it has no next token; use one like"):
        tune.run(params(), {"rows": rows}, context(tmp_path / "trained", model_path=str(base)))


def test_texts_without_a_next_token_are_refused_and_long_ones_counted(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "empty", ["", ""], [0, 1])
    with pytest.raises(UserError, match="no next token to learn"):
        tune.run(params(), {"rows": rows}, context(tmp_path / "none", model_path=str(base)))
    with pytest.raises(UserError, match="truncation=middle"):
        tune.run(params(truncation="middle"), {"rows": rows}, context(tmp_path / "none", model_path=str(base)))
    rows = write_rows(tmp_path / "long", ["x" * 60, "yes"], [0, 1])
    metrics = tune.run(params(epochs=1.0), {"rows": rows}, context(tmp_path / "long_", model_path=str(base)))
    assert metrics["truncated"] == {"rows": 1, "share": 0.5, "limit": 48}
    assert metrics["tokens"] == 48 + 4
