"""The estimate of memory beside the measured peaks of real trainings, each in a process of its own.

`python -m tests.unit.pipeline.test_memory_peak` measures the larger models of the table of docs/large.md, and prints it.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.conftest import ROOT, environment
from tests.tiny_models import END, byte_tokenizer
from w2s_cli.pipeline.memory import PROCESS, Setup, need
from w2s_cli.pipeline.shapes import read_shape
from w2s_cli.run.workplace import worker_environment

MIB = 1 << 20
LOW, HIGH = 0.6, 1.6  # of the estimate by the measured peak, without what a worker takes before it opens a model
LORA = {"mode": "lora", "lora": {"targets": "all-linear", "r": 8, "alpha": 16, "rslora": False, "dropout": 0.0}}
CHECKPOINTED = {"gradient_checkpointing": True}
# the name of a training → the stage's settings, those of its execution, and what the estimate is told of both
Way = tuple[dict[str, Any], dict[str, Any], Setup]
WAYS: dict[str, Way] = {
    "all weights, fp32": ({}, {}, Setup(True)),
    "all weights, fp32, gradient checkpointing": ({}, CHECKPOINTED, Setup(True, checkpointing=True)),
    "all weights, bf16": ({"precision": "bf16"}, {}, Setup(True, precision="bf16")),
    "adapters, fp32": (LORA, {}, Setup(True, adapters=8)),
}
MORE_WAYS: dict[str, Way] = {
    **WAYS,
    "adapters, fp32, gradient checkpointing": (LORA, CHECKPOINTED, Setup(True, adapters=8, checkpointing=True)),
    "adapters, bf16": ({**LORA, "precision": "bf16"}, {}, Setup(True, adapters=8, precision="bf16", pretrained=True)),
}
TRAINED = """
import json, random, sys
from pathlib import Path
from tests.unit.training.test_models import context, params, write_rows
from w2s_cli.run.worker import keep_memory
from w2s_cli.stages import finetune
from w2s_cli.store import memory

folder, base, given, execution = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
keep_memory()
drawn = random.Random(0)
texts = ["".join(drawn.choice("abcdefgh ") for _ in range(120)) for _ in range(16)]
rows = write_rows(folder / "rows", texts, [number % 2 for number in range(16)])
ctx = context(folder, model_path=base, **{"micro_tokens": 8192, "eval_tokens": 2048, "threads": 1, **execution})
unknown = memory.restart_peak()
finetune.run(params(epochs=1.0, batch_size=8, max_length=512, lr=1e-4, **given), {"rows": rows}, ctx)
print("PEAK", memory.peak_above(unknown))
"""


def base_of(folder: Path, family: str, width: int, layers: int, words: int, **fields: Any) -> Path:
    """A random language model in the hub's format, in bf16 as most large ones are stored."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, hidden_size=width, num_hidden_layers=layers, vocab_size=words, max_position_embeddings=512,
        bos_token_id=256, eos_token_id=256, **fields,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    byte_tokenizer(END).save_pretrained(folder)
    return folder


def wide(folder: Path, width: int, layers: int) -> Path:
    """Most of its weights are embeddings."""
    return base_of(folder, "llama", width, layers, 60000, intermediate_size=3 * width, num_attention_heads=4)


def deep(folder: Path, width: int, layers: int) -> Path:
    """Most of its weights are layers."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": 256}
    return base_of(folder, "qwen2", width, layers, 4000, intermediate_size=4 * width, **heads)


def peak(folder: Path, base: Path, given: dict[str, Any], execution: dict[str, Any]) -> int:
    """MiB of a training in a process of its own."""
    words = [sys.executable, "-c", TRAINED, str(folder), str(base), json.dumps(given), json.dumps(execution)]
    done = subprocess.run(
        words, env={**environment(), **worker_environment()}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("PEAK")[1])


def workers_own(folder: Path) -> int:
    """MiB that a worker takes with a model of nearly no weights."""
    small = {"intermediate_size": 64, "num_attention_heads": 2}
    return peak(folder / "small", base_of(folder / "smallest", "llama", 32, 2, 300, **small), {}, {})


def beside(folder: Path, base: Path, way: Way, worker: int) -> tuple[float, int]:
    """MiB of one update on 8 rows of 120 tokens: the estimate, and the measured peak."""
    given, execution, setup = way
    shape = read_shape(json.loads((base / "config.json").read_text()))
    assert shape is not None
    estimate = need(shape, replace(setup, tokens=8 * 120, row=120))
    return (estimate.total - PROCESS) / MIB, peak(folder, base, given, execution) - worker


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is the kernel's")
@pytest.mark.slow
def test_the_estimate_is_near_the_measured_peak(tmp_path: Path) -> None:
    worker = workers_own(tmp_path)
    assert LOW <= PROCESS / MIB / worker <= HIGH
    ratios = {}
    for base in (wide(tmp_path / "wide", 256, 4), deep(tmp_path / "deep", 192, 16)):
        for name, way in WAYS.items():
            estimate, measured = beside(tmp_path / f"{base.name} {name}", base, way, worker)
            ratios[base.name, name] = estimate / measured
    assert all(LOW <= ratio <= HIGH for ratio in ratios.values()), ratios


def main(folder: Path) -> None:
    """Print the table of docs/large.md."""
    worker = workers_own(folder)
    print(f"The worker's own: {worker / 1024:.2f} GiB.\n")
    print("| model | training | estimate, MiB | measured, MiB | ratio |\n|---|---|---|---|---|")
    models = {
        "Llama, width 768, 12 layers, 60,000 words": wide(folder / "wide", 768, 12),
        "Qwen2, width 1024, 20 layers, 4,000 words": deep(folder / "deep", 1024, 20),
    }
    for model, base in models.items():
        for number, (name, way) in enumerate(MORE_WAYS.items()):
            estimate, measured = beside(folder / f"{base.name} {name}", base, way, worker)
            row = f"| {'' if number else model} | {name} | {estimate:.0f} | {measured} | {estimate / measured:.2f} |"
            print(row.replace("|  |", "| |"), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))
