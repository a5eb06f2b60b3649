"""gpt-oss as it is published, its experts in MXFP4: opened as plain weights, exactly, trained and read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.tiny_models import in_mxfp4, make_model
from tests.unit.training.test_models import CPU, context, labelled, params, whole, write_rows
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.stages import finetune, label
from w2s_cli.store.store import Store
from w2s_cli.training.models import bf16
from w2s_cli.training.models.language_model import open_language_model


def number(four_bits: int) -> float:
    """A number of OCP's E2M1: a sign, two bits of exponent (bias 1) and one of fraction."""
    sign, exponent, fraction = (four_bits >> 3) & 1, (four_bits >> 1) & 3, four_bits & 1
    size = fraction / 2 if exponent == 0 else (1 + fraction / 2) * 2.0 ** (exponent - 1)
    return -size if sign else size


def by_hand(blocks: Tensor, scales: Tensor) -> np.ndarray:
    """[experts, inputs, outputs] float64."""
    values = np.array([number(code) for code in range(16)])
    codes = np.stack([blocks.numpy() & 15, blocks.numpy() >> 4], -1)  # [experts, outputs, groups, 16, 2]
    numbers = (
        values[codes].reshape(*blocks.shape[:-1], 32) * np.exp2(scales.numpy().astype(np.float64) - 127)[..., None]
    )
    opened: np.ndarray = numbers.reshape(*blocks.shape[:2], -1).transpose(0, 2, 1)
    return opened


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return in_mxfp4(make_model(tmp_path / "base", "gpt_oss", hidden_size=64))


@pytest.mark.parametrize(
    ("kept", "dtype"), [("fp32", torch.float32), ("stored", torch.bfloat16), ("bf16", torch.bfloat16)]
)
def test_experts_have_the_numbers_of_the_format(base: Path, kept: bf16.Kept, dtype: torch.dtype) -> None:
    stored = load_file(base / "model.safetensors")
    opened = dict(open_language_model(base, CPU, {}, 48, kept=kept).named_parameters())
    experts = [name for name in opened if name.endswith("experts.gate_up_proj") or name.endswith("experts.down_proj")]
    assert len(experts) == 4
    for name in experts:
        expected = by_hand(stored[f"{name}_blocks"], stored[f"{name}_scales"])
        assert opened[name].dtype == dtype
        assert np.array_equal(opened[name].detach().double().numpy(), expected)
    for name, value in opened.items():
        if name not in experts:
            assert torch.equal(value.detach().float(), stored[name].float()), name
            assert value.dtype == (dtype if name.endswith("_proj.weight") else torch.float32), name


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_it_trains_and_gives_labels_and_its_results_are_plain_models(
    tmp_path: Path, base: Path, mode: str, precision: str
) -> None:
    rows, setting = write_rows(tmp_path / "rows"), {"mode": mode, "precision": precision}
    trained = context(tmp_path / "trained", model_path=str(base))
    metrics = finetune.run(params(**setting), {"rows": rows}, trained)
    assert trained.measured["saved_difference"] < (0.05 if precision == "bf16" else 1e-4)
    assert np.isfinite(metrics["final_loss"])
    reading = context(tmp_path / "labels", base_path=str(base))
    label.run(params(**setting), {"rows": rows, "model": trained.result}, reading)
    assert labelled(tmp_path / "labels").std() > 0
    exported = whole(trained)
    assert "quantization_config" not in json.loads((exported / "config.json").read_text())
    assert {value.dtype for value in load_file(exported / "model.safetensors").values()} == {torch.float32}


def test_a_plan_takes_it(tmp_path: Path, base: Path) -> None:
    model = {"path": str(base), "name": "packed", "trust_remote_code": False}
    assert Resolver(Store(tmp_path / "outputs")).model(model)[0]["sha256"]
