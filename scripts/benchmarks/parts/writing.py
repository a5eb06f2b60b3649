"""Texts: writing them, and learning from them, against transformers and TRL.

The bundled arithmetic problems. Greedy texts by the `generate` stage and by transformers' `generate` in batches of 32 of equal length (its
documentation's way: left padding): the bundled arithmetic-l writes until its end token; a random Llama of 135 M parameters, which has no
end of its own, writes as many tokens as the true solution of the row has, and once 32 tokens for every row, so that no row can leave its
batch before the others. Both count the tokens of the same texts over the CPU seconds of the writing alone. Then supervised finetuning
(sft) and preferences (dpo, with the reference's log-probabilities computed inside of the time, as TRL does with precompute_ref_log_probs)
against TRL's SFTTrainer and DPOTrainer: same rows, order of batches, batch 16, learning rate and steps; the losses are compared step by
step. The peak of memory is that of the whole process.
"""

import json
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
    records = _written(settings, BUNDLED_MODEL, BUNDLED_MODEL, str(BUNDLED / "models" / BUNDLED_MODEL), rows, None, say)
    if settings.size == "full":
        shape = str(models.base(SHAPE, settings.work / "models"))
        own = _solutions(settings, shape, 64)
        records += _written(settings, SHAPE, SHAPE, shape, 64, own, say)
        records += _written(settings, f"{SHAPE}, rows of equal length", SHAPE, shape, 64, [32] * 64, say)
    for objective in ("sft", "dpo"):
        records += _learned(settings, objective, rows // 2, say)
    return records


def _written(
    settings: Settings,
    name: str,
    model: str,
    base: str,
    rows: int,
    lengths: list[int] | None,
    say: Callable[[str], None],
) -> list[Record]:
    """Tokens per CPU second of both, and whether the texts are the same; `lengths`: tokens of each row's text, None: until its end."""
    job = {
        "base": base,
        "problems": str(_file(settings, rows)),
        "new_tokens": max(lengths) if lengths else 64,
        "lengths": lengths,
        "batch": BATCH,
    }
    runs = comparing.in_turn(
        {kind: partial(_run, settings, f"write_{kind}", job) for kind in ("ours", "transformers")},
        settings.repeats,
        say,
    )
    ours, theirs = runs["ours"], runs["transformers"]
    same = [
        sum(a == b for a, b in zip(x.answer["texts"], y.answer["texts"], strict=True)) / rows
        for x, y in zip(ours, theirs, strict=True)
    ]
    detail = {"model": model, "rows": rows, **comparing.side_by_side(w2s=ours, transformers=theirs)}
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
        "batch": min(16, rows),
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
        for a, b in zip(x.answer["losses"], y.answer["losses"], strict=True)
    )
    detail = comparing.side_by_side(w2s=ours, TRL=theirs)
    return [
        record(PART, f"{objective}: times less CPU than TRL", comparing.ratios(theirs, ours, "learn_cpu_s"), "×", target=2.0,
               detail=detail),
        record(PART, f"{objective}: largest difference of a step's loss from TRL's", [apart], "nats", better="less",
               target=LARGEST_LOSS),
    ]  # fmt: skip


def _solutions(settings: Settings, base: str, rows: int) -> list[int]:
    """Tokens of the rows' true solutions, in the tokens of the model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    lines = _file(settings, rows).read_text().splitlines()
    return [len(tokenizer(json.loads(line)["chosen"])["input_ids"]) for line in lines]


def _file(settings: Settings, rows: int) -> Path:
    """The problems of the job as a file, made once."""
    path = settings.work / f"problems-{rows}.jsonl"
    return path if path.exists() else problems(path, rows)


def _run(settings: Settings, kind: str, what: dict[str, Any], repeat: int) -> Took:
    return program(kind, {**what, "seed": repeat}, settings.work, settings.threads)
