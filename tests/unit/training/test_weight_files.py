"""Weights in several files: read, written, hashed and refused like those in one; opening a model takes little more than its weights."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from tests import opening_peak
from tests.conftest import ROOT, environment
from tests.tiny_models import END, byte_tokenizer, make_model
from tests.unit.training.test_models import context, labelled, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.stages import finetune, label
from w2s_cli.store.store import Store
from w2s_cli.training.models import folder as model_folder
from w2s_cli.training.models import saving

OPENED = """
import sys
from pathlib import Path
import torch
from w2s_cli.store import memory
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.models.opening import quiet

quiet()
open_language_model(Path(sys.argv[1]), torch.device("cpu"), {}, 64)  # what libraries allocate at their first use
before = memory._own() >> 20
unknown = memory.restart_peak()
model = open_language_model(Path(sys.argv[2]), torch.device("cpu"), {}, 64)
print("TOOK", memory.peak_above(unknown) - before, sum(p.numel() * 4 for p in model.parameters()) >> 20)
"""

SENT = """
import sys
from pathlib import Path
import torch
from w2s_cli.store import memory
from w2s_cli.training.models.classifier import open_finished
from w2s_cli.training.models.opening import quiet

quiet()
there = torch.device("meta")
open_finished(Path(sys.argv[1]), there, {}, 64, "bf16")
before = memory._own() >> 20
unknown = memory.restart_peak()
model = open_finished(Path(sys.argv[2]), there, {}, 64, "bf16")
print("TOOK", (memory.peak_above(unknown) or 0) - before, sum(p.nbytes for p in model.parameters()) >> 20)
"""


def in_pieces(base: Path, folder: Path, most: str = "20KB") -> Path:
    """The model of `base` saved in files of at most so many bytes."""
    shutil.copytree(base, folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(folder, max_shard_size=most)
    return folder


def test_a_model_in_pieces_is_read_and_a_large_result_is_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, rows = make_model(tmp_path / "base", "llama"), write_rows(tmp_path / "rows")
    pieces = in_pieces(base, tmp_path / "pieces")
    assert len(list(pieces.glob("*.safetensors"))) > 3
    for name, folder, most in (("one", base, saving.SHARD), ("many", pieces, "20KB")):
        monkeypatch.setattr(saving, "SHARD", most)
        ctx = context(tmp_path / name, model_path=str(folder))
        finetune.run(params(), {"rows": rows}, ctx)
        label.run(params(), {"rows": rows, "model": ctx.result}, context(tmp_path / f"{name}-labels"))
    assert np.array_equal(labelled(tmp_path / "one-labels"), labelled(tmp_path / "many-labels"))
    assert ctx.measured["saved_difference"] < 1e-5
    written = ctx.result / "model"
    index = json.loads((written / "model.safetensors.index.json").read_text())["weight_map"]
    assert {*index.values()} == {path.name for path in written.glob("*.safetensors")}
    assert len({*index.values()}) > 3
    plain = [
        AutoModelForSequenceClassification.from_pretrained(tmp_path / n / "result" / "model") for n in ("one", "many")
    ]
    assert all(torch.equal(a, b) for a, b in zip(plain[0].parameters(), plain[1].parameters(), strict=True))


def test_every_piece_is_in_the_identity_and_a_missing_or_damaged_one_is_refused(tmp_path: Path) -> None:
    pieces = in_pieces(make_model(tmp_path / "base", "llama"), tmp_path / "pieces")
    files = sorted(pieces.glob("*.safetensors"))
    assert {*files} <= {*model_folder.files(pieces, code=False)}
    model = {"path": str(pieces), "name": "pieces", "trust_remote_code": False}

    def identity() -> str:
        return str(Resolver(Store(tmp_path / "outputs")).model(model)[0]["sha256"])

    before, data = identity(), files[1].read_bytes()
    files[1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert identity() != before
    files[1].write_bytes(data[: len(data) // 2])
    rows = write_rows(tmp_path / "rows")
    with pytest.raises(UserError, match="cut short or damaged"):
        finetune.run(params(), {"rows": rows}, context(tmp_path / "cut", model_path=str(pieces)))
    files[1].unlink()
    with pytest.raises(UserError, match=f"lacks the weight file {files[1].name}"):
        finetune.run(params(), {"rows": rows}, context(tmp_path / "gone", model_path=str(pieces)))
    with pytest.raises(UserError, match="lacks the weight file"):
        identity()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is the kernel's")
def test_opening_a_model_takes_little_more_than_its_weights(tmp_path: Path) -> None:
    tiny = make_model(tmp_path / "tiny", "llama")
    sizes = {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "vocab_size": 4000,
    }
    large = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes))
    large.save_pretrained(tmp_path / "large", max_shard_size="40MB")
    byte_tokenizer(END).save_pretrained(tmp_path / "large")
    words = [sys.executable, "-c", OPENED, str(tiny), str(tmp_path / "large")]
    done = subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    took, weights = map(int, done.stdout.split("TOOK")[1].split())
    assert weights > 130
    assert took <= 1.2 * weights


def peak(what: str, folder: Path, small: Path, kept: str) -> tuple[int, int]:
    """MiB of a process that opens the model above what it had before, and of the weights."""
    words = [sys.executable, "-m", "tests.opening_peak", what, str(folder), str(small), kept]
    done = subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    took, weights = done.stdout.split("TOOK")[1].split("WEIGHTS")
    return int(took), int(weights)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is the kernel's")
@pytest.mark.parametrize("what", ["label", *(pytest.param(one, marks=pytest.mark.slow) for one in ("lora", "qlora"))])
def test_opening_a_model_in_bf16_takes_no_more_than_its_weights_in_bf16(tmp_path: Path, what: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    opening_peak.make(what, small, 64, 2)
    opening_peak.make(what, large, 512, 12)
    took, weights = peak(what, large, small, "asked")
    assert weights > 90
    if what == "qlora":
        assert took < 1.9 * weights, (
            "less than the base in fp32 alone; a layer's numbers are there in several types while it is rounded"
        )
    else:
        assert took <= 1.4 * weights + 5
        in_fp32, _ = peak(what, large, small, "fp32")
        assert in_fp32 > 1.4 * weights + 5, "the bound tells the two apart"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is the kernel's")
def test_weights_that_go_to_a_gpu_are_never_together_on_the_host(tmp_path: Path) -> None:
    """The device meta takes the place of a GPU: it has no memory."""
    for name, width, layers in (("small", 64, 2), ("large", 512, 12)):
        opening_peak.make("label", tmp_path / name, width, layers)
    words = [sys.executable, "-c", SENT, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    took, weights = map(int, done.stdout.split("TOOK")[1].split())
    assert weights > 90
    assert took < 0.3 * weights
