"""Linear probes: one head and several on one frozen model, against the reference loop's probe.

w2s computes the last-token features of a pool once, as an artifact, and trains heads on them. The reference loop runs the trunk for every
epoch of every head. Its time for several heads is that of one head as many times over.
"""

from collections.abc import Callable
from functools import partial

from scripts.benchmarks import comparing
from scripts.benchmarks.material import job
from scripts.benchmarks.processes import Took, program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "probe"


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    models = [settings.strong, "gpt2-4x256"] if settings.size == "full" else [settings.strong]
    return [found for model in models for found in compare(settings, model, say)]


def compare(settings: Settings, model: str, say: Callable[[str], None]) -> list[Record]:
    """One model: one head and several."""
    what = job(settings, model, ("train", "test"), lr=settings.head_lr)
    heads = settings.heads

    def run(kind: str, count: int, repeat: int) -> Took:
        return program(kind, {**what, "probe": count, "seed": repeat}, settings.work, settings.threads)

    runs = comparing.in_turn(
        {
            f"{model} w2s, one head": partial(run, "ours", 1),
            f"{model} reference loop, one head": partial(run, "reference", 1),
            f"{model} w2s, {heads} heads": partial(run, "ours", heads),
        },
        settings.repeats,
        say,
    )
    one, loop, many = runs.values()
    apart = max(comparing.right_apart(a, b) for a, b in zip(one, loop, strict=True))
    named = partial(record, PART)
    return [
        named(f"{model}, one head, times less CPU than the reference loop", comparing.ratios(loop, one), "×", target=6.0,
              detail=comparing.side_by_side(**runs)),
        named(f"{model}, {heads} heads, times less CPU than as many reference loops",
              [heads * ratio for ratio in comparing.ratios(loop, many)], "×",
              target=40.0 if heads == 10 else None),  # the target is one for ten heads
        named(f"{model}, test rows that only one of both has right", [apart], "rows", better="less", target=1),
    ]  # fmt: skip
