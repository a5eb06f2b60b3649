"""The memory that a training takes, beside the estimate that is made before it starts.

The peak of the tensors on the card, and what the process holds beside them (context, kernels); on a CPU the peak of the process. Some
updates of a classifier in bf16, with micro-batches of two sizes, all weights or adapters, with gradient checkpointing.
"""

import importlib.util
from typing import NamedTuple

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import learning, shapes
from scripts.gpu_checks.estimate import GIB, expected, that_fits
from scripts.gpu_checks.rows import rows
from scripts.gpu_checks.settings import LARGE, SMALL, Settings, Turn

RUNS = {SMALL: Turn(7, 25), LARGE: Turn(14, 30)}
LOW, HIGH = 0.8, 1.6  # of the estimate over what was taken: too low would not fit, too high refuses what fits


class Case(NamedTuple):
    """A training whose memory is measured."""

    mode: str
    micro_tokens: int
    checkpointing: bool = False


def run(settings: Settings, shape: str) -> list[Record]:
    from w2s_cli.training.memory import empty_memory

    mode, most = that_fits(settings, shape)
    cases = [Case(mode, most), Case(mode, most // 4)]
    if shape == SMALL:
        cases.append(Case(mode, most, checkpointing=True))
        cases += [Case("lora", most)] if importlib.util.find_spec("peft") else []
    records: list[Record] = []
    for number, case in enumerate(cases):
        taken = _taken(settings, shape, case, f"memory-{shape}-{number}")
        empty_memory()
        records += _compared(settings, shape, case, taken)
    return records


def _compared(settings: Settings, shape: str, case: Case, taken: float) -> list[Record]:
    estimate = expected(settings, shape, case.mode, case.micro_tokens, checkpointing=case.checkpointing)
    name = f"{settings.models[shape]}, {case.mode}, micro-batches of {case.micro_tokens} tokens"
    name += ", checkpointed layers" if case.checkpointing else ""
    part, ratio = f"memory {shape}", estimate / taken
    note = f"estimate {estimate / GIB:.2f} GiB"
    met = LOW <= ratio <= HIGH if settings.timed else None
    return [
        record(part, f"{name}: taken", [taken / GIB], "GiB", better="less", note=note),
        Record(part, f"{name}: estimate over taken", ratio, "×", met=met, note=f"{LOW} to {HIGH} is wanted"),
    ]


def _taken(settings: Settings, shape: str, case: Case, name: str) -> float:
    """Bytes at the peak of two updates."""
    import torch

    from w2s_cli.store import memory

    gpu = settings.device != "cpu"
    unknown = memory.restart_peak()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    model = learning.with_mode(shapes.classifier(settings, shape), case.mode)
    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    material = rows(settings, (settings.warm_up + 1) * settings.batch)
    learning.ours(model, material, settings, 1, name, micro_tokens=case.micro_tokens)
    if not gpu:
        peak = memory.peak_above(unknown)
        return float(peak or unknown) * (1 << 20)
    free, total = torch.cuda.mem_get_info()
    beside = max(0, total - free - torch.cuda.memory_reserved())
    return float(torch.cuda.max_memory_allocated() + beside)
