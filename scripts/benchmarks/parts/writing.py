"""Texts: writing them, and learning from them, against transformers and TRL.

The bundled arithmetic problems. Greedy texts by the `generate` stage and by transformers' `generate` in batches of 32 of equal length (its
documentation's way: left padding): the bundled arithmetic-l writes until its end token, a random Llama of 135 M parameters writes a fixed
number of tokens. Both count the tokens of the same texts over the CPU seconds of the writing alone. Then supervised finetuning (sft) and
preferences (dpo, with the reference's log-probabilities computed inside of the time, as TRL does with precompute_ref_log_probs) against
TRL's SFTTrainer and DPOTrainer: same rows, order of batches, batch 16, learning rate and steps; the losses are compared step by step. The
peak of memory is that of the whole process.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts.benchmarks import comparing, models
from scripts.benchmarks.processes import Took, program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings
from scripts.benchmarks.texts import BUNDLED, problems

PART = "writing"
BUNDLED_MODEL, SHAPE = "arithmetic-l", "llama-135m"
BATCH = 32  # of transformers
LARGEST_LOSS = 1e-3  # difference of a step's losses


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    rows = {"full": 512, "quick": 128, "tiny": 8}[settings.size]
    found = _written(settings, BUNDLED_MODEL, str(BUNDLED / "models" / BUNDLED_MODEL), rows, None, say)
    if settings.size == "full":
        shape = models.base(SHAPE, settings.work / "models")
        found += _written(settings, SHAPE, str(shape), 64, 32, say)
    for objective in ("sft", "dpo"):
        found += _learned(settings, objective, rows // 2, say)
    return found


def _written(
    settings: Settings, name: str, base: str, rows: int, fixed: int | None, say: Callable[[str], None]
) -> list[Record]:
    """Tokens per CPU second of both, and whether the texts are the same."""
    job = {
        "base": base,
        "problems": str(_file(settings, rows)),
        "new_tokens": fixed or 64,
        "fixed": fixed is not None,
        "batch": BATCH,
    }
    runs = comparing.in_turn(
        {kind: partial(_run, settings, f"write_{kind}", job) for kind in ("ours", "transformers")},
        settings.repeats,
        say,
    )
    ours, theirs = runs["ours"], runs["transformers"]
    same = [
        sum(a == b for a, b in zip(x.said["texts"], y.said["texts"], strict=True)) / rows
        for x, y in zip(ours, theirs, strict=True)
    ]
    detail = {"model": name, "rows": rows, **comparing.side_by_side(w2s=ours, transformers=theirs)}
    return [
        record(PART, f"{name}: times the tokens per CPU second of transformers' generate, batch {BATCH}",
               comparing.ratios(theirs, ours, "write_cpu_s"), "×", target=1.5, detail=detail),
        record(PART, f"{name}: share of texts with the same tokens", [min(same)], "share", target=1.0),
    ]  # fmt: skip


def _learned(settings: Settings, objective: str, rows: int, say: Callable[[str], None]) -> list[Record]:
    """CPU seconds of both, and the largest difference of their losses."""
    job = {
        "base": str(BUNDLED / "models" / BUNDLED_MODEL),
        "problems": str(_file(settings, rows)),
        "objective": objective,
        "batch": 16,
        "lr": 1e-4,
        "epochs": 2,
    }
    runs = comparing.in_turn(
        {kind: partial(_run, settings, f"tune_{kind}", job) for kind in ("ours", "trl")}, settings.repeats, say
    )
    ours, theirs = runs["ours"], runs["trl"]
    apart = max(
        abs(a - b)
        for x, y in zip(ours, theirs, strict=True)
        for a, b in zip(x.said["losses"], y.said["losses"], strict=True)
    )
    detail = comparing.side_by_side(w2s=ours, TRL=theirs)
    return [
        record(PART, f"{objective}: times less CPU than TRL", comparing.ratios(theirs, ours, "learn_cpu_s"), "×", target=2.0,
               detail=detail),
        record(PART, f"{objective}: largest difference of a step's loss from TRL's", [apart], "nats", better="less",
               target=LARGEST_LOSS),
    ]  # fmt: skip


def _file(settings: Settings, rows: int) -> Path:
    """The problems of the job as a file, made once."""
    path = settings.work / f"problems-{rows}.jsonl"
    return path if path.exists() else problems(path, rows)


def _run(settings: Settings, kind: str, what: dict[str, Any], repeat: int) -> Took:
    return program(kind, {**what, "seed": repeat}, settings.work, settings.threads)
