"""One training with evaluation and labels, against a plain reference loop and transformers.Trainer.

Train, score the test rows, label a pool: the same texts, model, weights, epochs, batch, optimizer, schedule. Repeat k trains with seed k,
in the same order of rows for w2s and the reference loop, so in fp32 both should have the same test rows right. A bf16 training differs in
the last digits: there the accuracies' difference is held against its 95 % paired interval over the seeds. The share of the matmul peak
counts real tokens only, over the CPU seconds of the training loop; the peak is that of the same precision.
"""

from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import Any

from scripts.benchmarks import comparing
from scripts.benchmarks.material import job
from scripts.benchmarks.processes import Took, program
from scripts.benchmarks.records import Record, paired_interval, record
from scripts.benchmarks.settings import Settings

PART = "training"
PEAK = {"device": "cpu", "size": 2048, "tries": 5, "products": 3}


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    records = compare(settings, settings.strong, say)
    if settings.size == "full":  # speed only: random weights learn nothing in 30 updates
        records += compare(settings, "gpt2-4x256", say)
    return records


def compare(settings: Settings, model: str, say: Callable[[str], None]) -> list[Record]:
    """All programs on one model."""
    plain = job(settings, model)
    operations = _run(settings, "operations", plain, 0).answer
    peak = _run(settings, "peak", PEAK if settings.size != "tiny" else {**PEAK, "size": 256, "tries": 1}, 0).answer
    bf16 = {**plain, "precision": "bf16"}
    programs: dict[str, tuple[str, dict[str, Any]]] = {
        "w2s fp32": ("ours", plain),
        "reference loop fp32": ("reference", plain),
        "w2s bf16": ("ours", bf16),
        "Trainer bf16, grouped by length": ("trainer", {**bf16, "grouped": True}),
        "Trainer fp32": ("trainer", {**plain, "grouped": False}),
        "Trainer fp32, grouped by length": ("trainer", {**plain, "grouped": True}),
    }
    runs = comparing.in_turn(
        {name: partial(_run, settings, kind, what) for name, (kind, what) in programs.items()}, settings.repeats, say
    )
    fast, exact, loop = runs["w2s bf16"], runs["w2s fp32"], runs["reference loop fp32"]
    detail = {"model": model, **operations, "peak_gflops": {n: v / 1e9 for n, v in peak.items()}}
    named = partial(record, PART)
    alone = comparing.ratios(loop, exact, "train_cpu_s")
    records = [
        named(f"{model}, fp32, times less CPU than the reference loop", comparing.ratios(loop, exact), "×",
              detail=detail | comparing.side_by_side(**{"w2s fp32": exact, "reference loop fp32": loop})),
        named(f"{model}, fp32, training loop alone, times less CPU than the reference loop", alone, "×"),
        named(f"{model}, bf16, times less CPU than the reference loop in fp32", comparing.ratios(loop, fast), "×",
              detail=comparing.side_by_side(**{"w2s bf16": fast, "reference loop fp32": loop})),
    ]  # fmt: skip
    for name, target in (
        ("Trainer bf16, grouped by length", 2.5),
        ("Trainer fp32", None),
        ("Trainer fp32, grouped by length", None),
    ):
        mine = fast if "bf16" in name else exact
        records.append(
            named(f"{model}, times less CPU than {name}", comparing.ratios(runs[name], mine), "×", target=target,
                  detail=comparing.side_by_side(w2s=mine, **{name: runs[name]}))
        )  # fmt: skip
    apart = [comparing.right_apart(a, b) for a, b in zip(exact, loop, strict=True)]
    records.append(
        named(f"{model}, test rows that only one of w2s fp32 and the reference loop has right", [max(apart)], "rows",
              better="less", target=1)
    )  # fmt: skip
    if settings.strong == model:
        records.append(within_noise(PART, f"{model}, bf16: accuracy minus the reference loop's, fp32", fast, loop))
    longest = max(took.answer["padded_over_real"] for took in exact + fast)
    records.append(named(f"{model}, tokens computed over real ones", [longest], "share", better="less", target=1.05))
    for name, took in runs.items():
        target = 0.35 if name == "w2s bf16" else None
        shares = [
            operations["train_flops"] / one.answer["train_cpu_s"] / peak[f"peak_{_precision(name)}"] for one in took
        ]
        records.append(
            named(f"{model}, {name}: share of the {_precision(name)} matmul peak while training", shares, "share",
                  target=target)
        )  # fmt: skip
    return records


def within_noise(part: str, name: str, ours: list[Took], other: list[Took]) -> Record:
    """The difference of the mean accuracies in points, met if 0 lies in its 95 % paired interval."""
    apart = [100 * (a.answer["accuracy"] - b.answer["accuracy"]) for a, b in zip(ours, other, strict=True)]
    interval = paired_interval(apart)
    low, high = interval or (None, None)
    met = None if low is None or high is None else low <= 0 <= high
    detail = {"w2s": [t.answer["accuracy"] for t in ours], "reference loop": [t.answer["accuracy"] for t in other]}
    return Record(part, name, mean(apart), "points", low, high, met=met, detail=detail, note="95 % interval")


def _run(settings: Settings, kind: str, what: dict[str, Any], repeat: int) -> Took:
    return program(kind, {**what, "seed": repeat}, settings.work, settings.threads)


def _precision(name: str) -> str:
    return "bf16" if "bf16" in name else "fp32"
