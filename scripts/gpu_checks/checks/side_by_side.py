"""Two stages side by side on one card.

Two finetune stages with different seeds in two processes at once, as `launcher.jobs=2` puts them on one GPU; and the first of them alone.
It must come to the same losses beside the other. The gain in time is that of two in turn over two at once.
"""

import time

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import stages
from scripts.gpu_checks.settings import BUNDLED, Settings, Turn

RUNS = {BUNDLED: Turn(10, 35)}
APART = 1e-3  # nats
GAIN = 1.0


def run(settings: Settings, shape: str) -> list[Record]:
    stages.end(stages.start(settings, "alone"), settings, "alone")
    started = time.monotonic()
    pair = {f"beside-{seed}": stages.start(settings, f"beside-{seed}", seed=seed) for seed in (0, 1)}
    for name, process in pair.items():
        stages.end(process, settings, name)
    both = time.monotonic() - started
    alone = stages.seconds(settings, "alone")
    apart = stages.largest_difference(stages.losses(settings, "alone"), stages.losses(settings, "beside-0"))
    part = f"side_by_side {shape}"
    return [
        record(part, f"{settings.bundled}: largest difference of a loss, beside another stage and alone", [apart], "nats",
               better="less", target=APART),
        record(part, f"{settings.bundled}: times less time than one after the other", [2 * alone / both], "×",
               target=settings.aim(GAIN), note=f"both {both:.1f} s, one alone {alone:.1f} s, starts included"),
    ]  # fmt: skip
