"""On a GPU: one bf16 training of a GPT-2-medium-size and of a Qwen2.5-0.5B-shaped model with random weights.

Tokens a second of the training loop and their share of the bf16 matmul peak, against the reference loop (fp32, micro-batch 1) and
transformers.Trainer (bf16, grouped by length). Without a GPU there is nothing to measure, and this part has no records.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from scripts.benchmarks import comparing
from scripts.benchmarks.material import job
from scripts.benchmarks.processes import Took, program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "gpu"
MODELS = ("gpt2-medium", "qwen2.5-0.5b")
PEAK = {"device": "cuda", "size": 8192, "tries": 5, "products": 10}


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    import torch

    if not torch.cuda.is_available():
        say("  no GPU here: nothing measured")
        return []

    def run(kind: str, what: dict[str, Any], repeat: int) -> Took:
        return program(kind, {**what, "seed": repeat}, settings.work, settings.threads)

    peak = run("peak", PEAK, 0).answer["peak_bf16"]
    records: list[Record] = []
    for model in MODELS:
        plain = job(settings, model, ("train", "test"), device="cuda", lr=1e-5)
        operations = run("operations", plain, 0).answer
        bf16 = {**plain, "precision": "bf16"}
        runs = comparing.in_turn(
            {
                "w2s bf16": partial(run, "ours", bf16),
                "reference loop fp32": partial(run, "reference", plain),
                "Trainer bf16, grouped by length": partial(run, "trainer", {**bf16, "grouped": True}),
            },
            settings.repeats,
            say,
        )
        ours = runs["w2s bf16"]
        for name, taken in runs.items():
            seconds = [took.answer["train_s"] for took in taken]
            rates = [operations["train_tokens"] / s for s in seconds]
            shares = [operations["train_flops"] / s / peak for s in seconds]
            records.append(record(PART, f"{model}, {name}", rates, "tokens/s", detail={"peak_tflops": peak / 1e12}))
            records.append(record(PART, f"{model}, {name}: share of the bf16 matmul peak", shares, "share",
                                target=0.35 if taken is ours else None))  # fmt: skip
            if taken is not ours:
                records.append(record(PART, f"{model}, training loop, times faster than {name}",
                                    comparing.ratios(taken, ours, "train_s"), "×",
                                    detail=comparing.side_by_side(w2s=ours, other=taken)))  # fmt: skip
    return records
