"""Training steps on this device against the CPU's losses.

The finetune stage on a bundled model, the same rows, order and seed, on the CPU in fp32 and here in fp32 and in bf16; the losses of all
updates are compared. Rounding differs, and grows with the updates.
"""

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import stages
from scripts.gpu_checks.settings import BUNDLED, Settings, Turn

RUNS = {BUNDLED: Turn(2, 30)}
APART = {"fp32": 1e-3, "bf16": 3e-2}  # nats, of a loss that begins at 0.69


def run(settings: Settings, shape: str) -> list[Record]:
    stages.finetune(settings.on("cpu"), "steps-cpu")
    expected = stages.losses(settings, "steps-cpu")
    records = []
    for precision, largest in APART.items():
        name = f"steps-{precision}"
        # other micro-batches than the CPU's: only rounding may differ
        stages.finetune(settings, name, precision, micro_tokens=settings.micro_tokens // 2)
        apart = stages.largest_difference(stages.losses(settings, name), expected)
        records.append(
            record(f"steps {shape}", f"{settings.bundled}, {precision}: largest difference of a loss from the CPU's in fp32",
                   [apart], "nats", better="less", target=largest,
                   note=f"{len(expected)} updates, loss {expected[0]:.3f} to {expected[-1]:.3f}")
        )  # fmt: skip
    return records
