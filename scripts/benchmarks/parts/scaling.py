"""Time and memory per row from a thousand rows to a hundred thousand: the whole command on short texts with the smallest bundled model.

Seconds are those of a further row, from one number of rows to the next, so what a command takes once does not count. Flat means that a
further row costs no more among many than among few.
"""

import shutil
from collections.abc import Callable
from itertools import pairwise

from scripts.benchmarks import texts
from scripts.benchmarks.processes import w2s
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "scaling"
SHORT = 14  # tokens of a text on average
FLAT = 1.2


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    folder = settings.work / "scaling"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cpu, memory = dict[int, float](), dict[int, float]()
    for count in settings.scale_rows:
        data = texts.write(folder / f"{count}.jsonl", count, SHORT)
        words = f"data=local data.path={data} data.text=text data.label=label data.id=id train.epochs=1 bootstrap=200"
        models = [
            "weak=wordnet-xs",
            "strong=wordnet-xs",
            f"outputs={folder}/{count}",
            f"launcher.threads={settings.threads}",
        ]
        took = w2s(["train", *words.split(), *models], settings.threads, folder)
        cpu[count], memory[count] = took.cpu_s, took.peak_mib
        say(f"  {count} rows: {took.cpu_s:.1f} CPU s, {took.peak_mib:.0f} MiB")
    steps = {b: 1000 * (cpu[b] - cpu[a]) / (b - a) for a, b in pairwise(settings.scale_rows)}
    found = [record(PART, f"a further row up to {n:,} rows", [ms], "CPU ms", better="less") for n, ms in steps.items()]
    slopes = list(steps.values())
    if len(slopes) > 1:
        found.append(
            record(PART, "a further row among many over one among few, CPU", [slopes[-1] / slopes[0]], "share",
                   better="less", target=FLAT)
        )  # fmt: skip
    for a, b in pairwise(settings.scale_rows):
        found.append(
            record(PART, f"memory of a further row up to {b:,} rows", [1024 * (memory[b] - memory[a]) / (b - a)], "KiB",
                   better="less", detail={"peak MiB": memory[b]})
        )  # fmt: skip
    return found
