"""What `launcher.compile` and gradient checkpointing cost and save.

One training as in the part above, bf16, with all defaults, with the layers compiled, and with activation checkpointing. Both are given
padded rows, since what is packed can be neither: against the default they lose that too. Compiled layers are compiled in every worker.
"""

from collections.abc import Callable
from functools import partial

from scripts.benchmarks import comparing
from scripts.benchmarks.material import job
from scripts.benchmarks.processes import Took, program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "options"


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    what = job(settings, settings.strong, ("train",), precision="bf16")

    def run(execution: dict[str, bool], repeat: int) -> Took:
        return program("ours", {**what, "execution": execution, "seed": repeat}, settings.work, settings.threads)

    runs = comparing.in_turn(
        {
            "default": partial(run, {}),
            "compiled": partial(run, {"compile": True}),
            "checkpointing": partial(run, {"gradient_checkpointing": True}),
        },
        settings.repeats,
        say,
    )
    default, compiled, checkpointing = runs.values()
    named = partial(record, PART)
    return [
        named("compiled layers: CPU time over the default's", comparing.ratios(compiled, default), "×", better="less",
              detail=comparing.side_by_side(**runs)),
        named("compiled layers: peak memory over the default's", comparing.ratios(compiled, default, "peak_mib"), "×",
              better="less"),
        named("checkpointing: CPU time over the default's", comparing.ratios(checkpointing, default), "×", better="less"),
        named("checkpointing: peak memory over the default's", comparing.ratios(checkpointing, default, "peak_mib"), "×",
              better="less"),
    ]  # fmt: skip
