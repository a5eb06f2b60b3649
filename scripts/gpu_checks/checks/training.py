"""Training: tokens a second and share of the card's peak, against transformers.Trainer.

The training loop of w2s and transformers.Trainer on the same rows, effective batches and weights, in bf16; all weights, or adapters where
these alone fit the card. Real tokens are counted, no padding.
"""

from dataclasses import replace
from typing import Any

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import learning, peaks, shapes
from scripts.gpu_checks.estimate import that_fits
from scripts.gpu_checks.rows import rows
from scripts.gpu_checks.settings import LARGE, SMALL, NotHere, Settings, Turn

RUNS = {SMALL: Turn(4, 30), LARGE: Turn(8, 45)}
PEAK_SHARE = 0.35  # as of scripts/bench gpu
FASTER = 1.0  # than Trainer


def run(settings: Settings, shape: str) -> list[Record]:
    from w2s_cli.stages import finetune
    from w2s_cli.training.memory import empty_memory

    mode, micro_tokens = that_fits(settings, shape)
    settings = replace(settings, micro_tokens=micro_tokens)
    amount = settings.amounts[shape]
    material = rows(settings, (settings.warm_up + amount.updates) * settings.batch)
    name = f"{settings.models[shape]}, {mode}"

    def model() -> Any:
        return shapes.classifier(settings, shape)

    weights = shapes.matrix_weights(shapes.classifier(settings.on("meta"), shape))
    peak, where = peaks.peak(settings)
    empty_memory()
    ours = learning.ours(learning.with_mode(model(), mode), material, settings, amount.updates, f"ours-{shape}")
    share = finetune.flops_per_token({"mode": mode}) * weights * ours.rate / peak
    part = f"training {shape}"
    records = [
        record(part, f"{name}, w2s", [ours.rate], "tokens/s", note=ours.how),
        record(part, f"{name}, w2s: share of the peak", [share], "share", target=settings.aim(PEAK_SHARE), note=where),
    ]
    empty_memory()
    try:
        theirs = learning.theirs(
            learning.with_mode(model(), mode), material, settings, amount.updates, f"theirs-{shape}"
        )
    except NotHere as error:
        return [*records[:-1], replace(records[-1], note=f"{where}; not compared: {error}")]
    return [
        *records,
        record(part, f"{name}, Trainer", [theirs.rate], "tokens/s", note=theirs.how),
        record(part, f"{name}: times Trainer's tokens a second", [ours.rate / theirs.rate], "×",
               target=settings.aim(FASTER)),
    ]  # fmt: skip
