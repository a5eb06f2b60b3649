"""The trunk of a finetuned model as another stage's base: finetune on weak labels, then fit a probe on ground truth.

(Burns et al. 2023, section 5.2.2.)
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny_models import END, make_model
from tests.unit.training.test_models import context, labelled, params, whole, write_rows
from tests.unit.training.test_reward import planted
from tests.unit.training.test_stopping import write_labels
from w2s_cli.stages import features, finetune, label
from w2s_cli.training.models.probe import HEAD


@pytest.mark.parametrize(("mode", "pairs"), [("full", False), ("lora", False), ("full", True)])
def test_a_probe_on_the_trunk_of_a_finetuned_model(tmp_path: Path, mode: str, pairs: bool) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    rows = planted(tmp_path / "rows", 12) if pairs else write_rows(tmp_path / "rows")
    weak = write_labels(tmp_path / "weak", np.random.default_rng(0).uniform(0.1, 0.9, 12 if pairs else 10))
    student = context(tmp_path / "student", model_path=str(base))
    finetune.run(params(mode=mode, labels="soft"), {"rows": rows, "labels": weak}, student)
    stored = context(tmp_path / "features", base_path=str(base))
    features.run(params(model=None), {"rows": rows, "model": student.result}, stored)
    again = context(tmp_path / "probe", base_path=str(base))
    edges: Any = {"rows": rows, "features": stored.result, "model": student.result}
    metrics = finetune.run(params(model=None, mode="probe", epochs=0.1, batch_size=12), edges, again)
    assert metrics["final_loss"] == pytest.approx(
        np.log(2), abs=1e-6
    )  # the student's head is gone: a new one starts at 0
    before, after = (load_file(whole(ctx) / "model.safetensors") for ctx in (student, again))
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert np.array_equal(tensor, after[name]) == (name != HEAD), name
    label.run(params(), {"rows": rows, "features": stored.result, "model": again.result}, context(tmp_path / "fast"))
    label.run(params(), {"rows": rows, "model": again.result}, context(tmp_path / "slow"))
    np.testing.assert_allclose(labelled(tmp_path / "fast"), labelled(tmp_path / "slow"), atol=1e-5)


def test_features_are_those_of_the_finetuned_trunk(tmp_path: Path) -> None:
    base, rows = (
        make_model(tmp_path / "base", "gpt2"),
        write_rows(tmp_path / "rows", ["a dog", f"{END}!", "!!"], [0, 1, 0]),
    )
    trained = context(tmp_path / "trained", model_path=str(base))
    finetune.run(params(), {"rows": rows}, trained)
    found = {}
    for name, edges, execution in (
        ("pretrained", {"rows": rows}, {"model_path": str(base)}),
        ("finetuned", {"rows": rows, "model": trained.result}, {}),
    ):
        ctx = context(tmp_path / name, **execution)
        features.run(params(), edges, ctx)  # type: ignore[arg-type]
        found[name] = load_file(ctx.result / "features.safetensors")["features"]
    folder = trained.result / "model"
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    for row, text in enumerate(["a dog", f"{END}!", "!!"]):
        with torch.inference_mode():
            hidden = model.base_model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
        np.testing.assert_allclose(found["finetuned"][row], hidden, atol=1e-5)
    assert np.abs(found["finetuned"] - found["pretrained"]).max() > 1e-2


def test_a_language_model_of_another_stage_can_be_probed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    make_model(made / "model", "gpt2")  # as a tune stage leaves it
    rows = write_rows(tmp_path / "rows")
    stored, out = context(tmp_path / "features"), context(tmp_path / "probe")
    features.run(params(model=None), {"rows": rows, "model": made}, stored)
    edges: Any = {"rows": rows, "features": stored.result, "model": made}
    assert finetune.run(params(model=None, mode="probe"), edges, out)["steps"] == 6
