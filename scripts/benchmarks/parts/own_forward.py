"""What a forward pass of our own would give over transformers' Auto classes.

Forward and backward passes of one epoch, the same packed micro-batches, in one process in turn: through the Auto class as w2s does, and
through a forward written by hand with fused products, norms and rotations (`scripts/benchmarks/programs/own_forward.py`). Both give the
same states and gradients up to rounding. Imports and loading are not in it: the part on start-up has those.
"""

from collections.abc import Callable
from statistics import median

from scripts.benchmarks.material import job
from scripts.benchmarks.processes import program
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "own_forward"


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    models = [settings.strong, "gpt2-4x256"] if settings.size == "full" else [settings.strong]
    found = []
    for model in models:
        for precision in ("fp32", "bf16"):
            what = job(settings, model, ("train",), precision=precision)
            said = program("own_forward", what, settings.work, settings.threads).said
            auto, own = said["seconds"]["auto"], said["seconds"]["own"]
            say(f"  {model} {precision}: Auto class {median(auto):.1f} CPU s, by hand {median(own):.1f} CPU s")
            ratios = [a / b for a, b in zip(auto, own, strict=True)]
            ways = {"Auto class": auto, "by hand": own}
            detail = {f"{model} {precision}, {way}": {"cpu_s": median(took)} for way, took in ways.items()}
            note = f"gradients {said['gradients_apart']:.0e} apart"
            named = f"{model}, {precision}: CPU time through the Auto class over that by hand"
            found.append(record(PART, named, ratios, "×", better="less", detail=detail, note=note))
    return found
