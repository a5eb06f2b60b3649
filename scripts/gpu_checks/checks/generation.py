"""Generation: tokens a second of greedy texts, against transformers' `generate`.

The writer of the generate stage, and `generate` with left padding in batches of prompts sorted by length: the same weights, prompts and
number of new tokens, in bf16. `generate` runs twice: with the same fp32 weights under autocast, and with weights turned to bf16, as most
people load a model for writing. In fp32 both must write the same tokens.
"""

import time
from collections.abc import Sequence
from typing import Any

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import learning, peaks, shapes
from scripts.gpu_checks.estimate import need_room
from scripts.gpu_checks.rows import padded, prompts
from scripts.gpu_checks.settings import LARGE, SMALL, Settings, Turn

RUNS = {SMALL: Turn(5, 35), LARGE: Turn(12, 40)}
FASTER = 1.0
SAME = 0.9  # of texts in fp32: two tokens may be as close as rounding
FEW = 8  # prompts and tokens that are compared in fp32


def run(settings: Settings, shape: str) -> list[Record]:
    import torch

    from w2s_cli.training.device import autocast, pick_device

    pick_device({"device": settings.device}, "bf16")
    need_room(settings, shape)
    model = shapes.language_model(settings, shape)
    device, weights, amount = torch.device(settings.device), shapes.matrix_weights(model), settings.amounts[shape]
    asked = prompts(settings, amount.prompts)
    few = asked[-FEW:]
    same = [
        a == b
        for a, b in zip(
            _ours(model, few, FEW, "fp32", settings), _theirs(model, few, FEW, settings), strict=True
        )
    ]  # fmt: skip
    part, name = f"generation {shape}", settings.models[shape]
    records = [record(part, f"{name}, fp32: share of texts with generate's tokens", [sum(same) / len(same)], "share",
                    target=SAME)]  # fmt: skip
    written, read = amount.prompts * amount.new_tokens, sum(map(len, asked))
    rates = {}
    _ours(model, few, FEW, "bf16", settings)  # kernels are chosen
    rates["w2s"] = written / _seconds(lambda: _ours(model, asked, amount.new_tokens, "bf16", settings), settings)
    with autocast(device, "bf16"):
        _theirs(model, few, FEW, settings)
        rates["generate, same weights"] = written / _seconds(
            lambda: _theirs(model, asked, amount.new_tokens, settings), settings
        )
    model.to(torch.bfloat16)
    _theirs(model, few, FEW, settings)
    rates["generate, weights in bf16"] = written / _seconds(
        lambda: _theirs(model, asked, amount.new_tokens, settings), settings
    )
    peak, where = peaks.peak(settings)
    operations = peaks.FORWARD * weights * (written + read) / written  # of a written token
    for who, rate in rates.items():
        records.append(record(part, f"{name}, {who}", [rate], "written tokens/s"))
    records.append(
        record(part, f"{name}, w2s: share of the peak", [operations * rates["w2s"] / peak], "share", note=where)
    )
    for who in list(rates)[1:]:
        target = settings.aim(FASTER) if who.endswith("same weights") else None
        records.append(record(part, f"{name}: times the tokens a second of {who}", [rates["w2s"] / rates[who]], "×",
                            target=target))  # fmt: skip
    return records


def _seconds(work: Any, settings: Settings) -> float:
    learning.wait(settings)
    started = time.monotonic()
    work()
    learning.wait(settings)
    return time.monotonic() - started


def _ours(model: Any, asked: Sequence[Any], most: int, precision: str, settings: Settings) -> list[list[int]]:
    """The tokens of each text, in batches within the budget, as the generate stage cuts them; no token ends a text."""
    import numpy as np

    from w2s_cli.training.batching import micro_batches
    from w2s_cli.training.generation.completing import Head, Unit, Writer
    from w2s_cli.training.generation.sampling import Sampling
    from w2s_cli.training.generation.writing import LAYOUT

    writer = Writer(model, shapes.tokenizer(), Sampling(), most, frozenset({-1}), (), precision)
    lengths = np.array([len(prompt) + most for prompt in asked])
    texts: list[list[int]] = [[] for _ in asked]
    for piece in micro_batches(range(len(asked)), lengths, settings.eval_tokens, LAYOUT):
        units = [Unit(f"row-{row}", 0, asked[row]) for row in piece]
        for row, text in zip(piece, writer.write(units, Head((), None), lambda done, tokens: None), strict=True):
            texts[row] = text.ids
    return texts


def _theirs(model: Any, asked: Sequence[Any], most: int, settings: Settings) -> list[list[int]]:
    """The same by `generate`."""
    import torch

    texts: list[list[int]] = []
    with torch.inference_mode():
        for start in range(0, len(asked), settings.their_batch):
            ids, mask = (part.to(model.device) for part in padded(asked[start : start + settings.their_batch], "left"))
            whole = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=most, min_new_tokens=most, do_sample=False,
                eos_token_id=None, pad_token_id=shapes.tokenizer().pad_token_id,
            )  # fmt: skip
            texts += whole[:, ids.shape[1] :].tolist()
    return texts
