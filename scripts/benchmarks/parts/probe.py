"""Linear probes: one head and several on one frozen model, against the reference loop's probe.

w2s computes the last-token features of a pool once, as an artifact, and trains heads on them; in bf16 the frozen model is, the heads are in
fp32 always. The reference loop runs the trunk, in fp32, for every epoch of every head. Its time for several heads is that of one head as
many times over.
"""

from collections.abc import Callable
from functools import partial

from scripts.benchmarks import comparing
from scripts.benchmarks.material import job
from scripts.benchmarks.parts.training import within_noise
from scripts.benchmarks.processes import Took, program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "probe"


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    models = [settings.strong, "gpt2-4x256"] if settings.size == "full" else [settings.strong]
    return [one for model in models for one in compare(settings, model, say)]


def compare(settings: Settings, model: str, say: Callable[[str], None]) -> list[Record]:
    """One model: one head and several, in both precisions."""
    heads = settings.heads

    def run(kind: str, count: int, precision: str, repeat: int) -> Took:
        what = job(settings, model, ("train", "test"), lr=settings.head_lr, precision=precision)
        return program(kind, {**what, "probe": count, "seed": repeat}, settings.work, settings.threads)

    runs = comparing.in_turn(
        {
            f"{model} w2s fp32, one head": partial(run, "ours", 1, "fp32"),
            f"{model} reference loop, one head": partial(run, "reference", 1, "fp32"),
            f"{model} w2s bf16, one head": partial(run, "ours", 1, "bf16"),
            f"{model} w2s fp32, {heads} heads": partial(run, "ours", heads, "fp32"),
            f"{model} w2s bf16, {heads} heads": partial(run, "ours", heads, "bf16"),
        },
        settings.repeats,
        say,
    )
    one, loop, one_bf16, many, many_bf16 = runs.values()
    apart = max(comparing.right_apart(a, b) for a, b in zip(one, loop, strict=True))
    named = partial(record, PART)
    records = []
    for precision, single, several in (("fp32", one, many), ("bf16", one_bf16, many_bf16)):
        records.append(
            named(f"{model}, {precision}, one head, times less CPU than the reference loop", comparing.ratios(loop, single),
                  "×", target=6.0, detail=comparing.side_by_side(**runs))
        )  # fmt: skip
        records.append(
            named(f"{model}, {precision}, {heads} heads, times less CPU than as many reference loops",
                  [heads * ratio for ratio in comparing.ratios(loop, several)], "×",
                  target=40.0 if heads == 10 else None)  # the target is one for ten heads
        )  # fmt: skip
    rows = f"{model}, fp32: test rows that only one of both has right"
    records.append(named(rows, [apart], "rows", better="less", target=1))
    return [*records, within_noise(PART, f"{model}, bf16: accuracy minus the reference loop's, fp32", one_bf16, loop)]
