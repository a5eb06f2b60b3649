"""A training killed by signal 9 on this device, and continued.

The finetune stage on a bundled model with a checkpoint after every update. One process trains undisturbed, another is killed in the midst
of it, a third continues in its folder. On a GPU sums may be added in another order, so losses and weights are compared within rounding.
"""

import os
import re
import signal
import time

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import stages
from scripts.gpu_checks.settings import BUNDLED, Settings, Turn

RUNS = {BUNDLED: Turn(3, 40)}
LOSSES, WEIGHTS = 1e-3, 1e-3  # largest difference in nats, and of the norm
EACH = {"checkpoint_seconds": 0}  # a checkpoint after every update


def run(settings: Settings, shape: str) -> list[Record]:
    stages.end(stages.start(settings, "undisturbed", **EACH), settings, "undisturbed")
    victim = stages.start(settings, "killed", **EACH)
    while victim.is_alive() and len(stages.losses(settings, "killed")) < settings.kill_after:
        time.sleep(0.002)
    if victim.pid is not None and victim.is_alive():
        os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    at = len(stages.losses(settings, "killed"))
    started = time.monotonic()
    stages.end(stages.start(settings, "killed", **EACH), settings, "killed")
    took = time.monotonic() - started
    log = (settings.work / "killed" / "log.txt").read_text(encoding="utf-8")
    resumed = re.search(r"resumed at step (\d+)/(\d+)", log)
    before, after = (stages.losses(settings, name) for name in ("undisturbed", "killed"))
    one, other = (stages.weights(settings, name) for name in ("undisturbed", "killed"))
    norm = sum(float(tensor.double().square().sum()) for tensor in one.values())
    apart = sum(float((tensor.double() - other[name].double()).square().sum()) for name, tensor in one.items())
    part = f"resume {shape}"
    return [
        record(part, f"{settings.bundled}: killed by signal 9", [float(victim.exitcode == -signal.SIGKILL)], "of 1",
               target=1.0, note=f"after update {at} of {len(before)}"),
        record(part, f"{settings.bundled}: continued from a checkpoint", [float(resumed is not None)], "of 1", target=1.0,
               note=f"{resumed[0] if resumed else 'began again'}; {took:.1f} s to the end"),
        record(part, f"{settings.bundled}: largest difference of a loss from the undisturbed training",
               [stages.largest_difference(before, after)], "nats", better="less", target=LOSSES),
        record(part, f"{settings.bundled}: difference of the weights from the undisturbed training", [(apart / norm) ** 0.5],
               "of the norm", better="less", target=WEIGHTS,
               note="the same bytes" if apart == 0 else "not the same bytes"),
    ]  # fmt: skip
