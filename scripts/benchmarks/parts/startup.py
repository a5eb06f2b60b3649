"""How long one waits: commands that have nothing to compute, and from the start of a command to its first update of weights.

Wall seconds of the bundled default experiment. The first update is timed by the kill point `finetune.step`, which writes a file there.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.processes import Took, w2s
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "startup"


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    folder = settings.work / "startup"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = ["train", "debug=tiny", "strong=wordnet-s"]
    say("  the experiment whose commands are timed")
    w2s(run, settings.threads, folder)
    key = next((folder / "outputs" / "stages" / "evaluate").glob("*-*")).name[-12:]
    timed: dict[str, tuple[list[str], float]] = {
        "train, all cached": (run, 0.5),
        "plan, all cached": (["plan", *run[1:]], 0.5),
        "--help": (["--help"], 0.1),
        "ls": (["ls"], 0.1),
        "show KEY": (["show", key], 0.1),
    }
    taken: dict[str, list[Took]] = {name: [] for name in timed}
    first: list[tuple[float, float]] = []
    for repeat in range(settings.starts):
        for name, (words, _) in timed.items():
            taken[name].append(w2s(words, settings.threads, folder))
        first.append(_to_first_update(settings, folder / f"first-{repeat}"))
        say(f"  [{repeat + 1}/{settings.starts}] first update after {first[-1][0]:.1f} s")
    found = [
        record(PART, f"w2s {name}", [took.wall_s for took in taken[name]], "s", better="less", target=target,
               note=f"{min(took.cpu_s for took in taken[name]):.2f} CPU s")
        for name, (_, target) in timed.items()
    ]  # fmt: skip
    waits, work = ([pair[place] for pair in first] for place in (0, 1))
    note = f"{min(work):.2f} CPU s"
    return [
        *found,
        record(PART, "start of a command to its first update", waits, "s", better="less", target=6.0, note=note),
    ]


def _to_first_update(settings: Settings, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds from the start of a fresh command to its first update, where its worker is killed.

    The command is `w2s label`, which trains the weak supervisor only: `train` would go on with the ceiling, and be killed again.
    """
    folder.mkdir()
    started = time.time()
    took = w2s(["label"], settings.threads, folder, (1,), W2S_FAULT="finetune.step", W2S_FAULT_LOG=str(folder / "hit"))
    return (folder / "hit").stat().st_mtime - started, took.cpu_s
