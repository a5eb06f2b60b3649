"""Peak memory of a training: against the effective batch, the context length, and the size of the model.

The peak resident memory of the whole process, imports included. Micro-batches are cut by a budget of tokens, so the effective batch should
not show; the reference loop keeps the graphs of the whole batch.
"""

from collections.abc import Callable, Sequence

from scripts.benchmarks.material import job, rows
from scripts.benchmarks.processes import program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "memory"
MODELS = ("gpt2-2x128", "gpt2-4x256", "gpt2-8x512")
REFERENCE_BATCHES = 32  # the largest that the reference loop is given: at 256 it would take some 15 GB


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    def peak(kind: str, model: str, batch: int, context: int, mean: int) -> float:
        folder = rows(settings, "memory", max(*settings.batches, 64), mean_tokens=mean)
        what = job(settings, model, (), train=str(folder), batch=batch, max_length=context, epochs=1)
        took = program(kind, what, settings.work, settings.threads)
        say(f"  {kind} {model}, batch {batch}, context {context}: {took.peak_mib:.0f} MiB")
        return took.peak_mib

    mean, context = settings.mean_tokens, settings.max_length
    ours = {batch: peak("ours", settings.strong, batch, context, mean) for batch in settings.batches}
    small, large = min(ours), max(ours)
    few = [batch for batch in settings.batches if batch <= REFERENCE_BATCHES]
    loop = {batch: peak("reference", settings.strong, batch, context, mean) for batch in few}
    lengths = {n: peak("ours", settings.strong, small, n, n) for n in settings.contexts}
    sizes: Sequence[str] = MODELS if settings.size != "tiny" else MODELS[:1]
    models = {name: peak("ours", name, small, context, mean) for name in sizes}
    return [
        record(PART, f"growth of the peak from effective batch {small} to {large}", [ours[large] / ours[small] - 1],
               "share", better="less", target=0.05, detail={"MiB by batch": ours}),
        *(record(PART, f"times less memory than the reference loop at batch {batch}", [loop[batch] / ours[batch]], "×",
                 detail={"w2s": ours[batch], "reference loop": loop[batch]}) for batch in few),
        *(record(PART, f"context {n}, texts of {n} tokens on average", [mib], "MiB", better="less")
          for n, mib in lengths.items()),
        *(record(PART, f"model {name}", [mib], "MiB", better="less") for name, mib in models.items()),
    ]  # fmt: skip
