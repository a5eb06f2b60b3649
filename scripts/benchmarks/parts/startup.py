"""How long one waits: commands that have nothing to compute, and from the start of a command to its first update of weights.

Wall seconds of the bundled default experiment. The first update is timed by the kill point `finetune.step`, which writes a file there.
Then what a worker's imports take, one after another, with garbage collected as rarely as a worker does: through the Auto classes, and with
nothing but torch, tokenizers and safetensors.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.material import model
from scripts.benchmarks.processes import Took, run, w2s
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "startup"
AS_A_WORKER = "import gc; from w2s_cli.run.process import keep_memory; keep_memory()\n"
IMPORTS = {  # name → statements; FOLDER is a model's
    "import torch": "import torch",
    "and a tokenizer through AutoTokenizer": "from transformers import AutoTokenizer as A; A.from_pretrained(FOLDER)",
    "and a model through AutoModelForSequenceClassification": (
        "from transformers import AutoModelForSequenceClassification as A; A.from_pretrained(FOLDER)"
    ),
}
WITHOUT_AUTO = (
    "import torch, tokenizers, safetensors.torch as s\n"
    "tokenizers.Tokenizer.from_file(FOLDER + '/tokenizer.json'); s.load_file(FOLDER + '/model.safetensors')"
)


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    folder = settings.work / "startup"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words_of_run = ["train", "debug=tiny", "strong=wordnet-s"]
    say("  the experiment whose commands are timed")
    w2s(words_of_run, settings.threads, folder)
    key = next((folder / "outputs" / "stages" / "evaluate").glob("*-*")).name[-12:]
    timed: dict[str, tuple[list[str], float]] = {
        "train, all cached": (words_of_run, 0.5),
        "plan, all cached": (["plan", *words_of_run[1:]], 0.5),
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
    records = [
        record(PART, f"w2s {name}", [took.wall_s for took in taken[name]], "s", better="less", target=target,
               note=f"{min(took.cpu_s for took in taken[name]):.2f} CPU s")
        for name, (_, target) in timed.items()
    ]  # fmt: skip
    waits, work = ([pair[place] for pair in first] for place in (0, 1))
    note = f"{min(work):.2f} CPU s"
    return [
        *records,
        record(PART, "start of a command to its first update", waits, "s", better="less", target=6.0, note=note),
        *_imports(settings),
    ]


def _imports(settings: Settings) -> list[Record]:
    """CPU seconds of a process that imports and opens more and more of what a worker needs."""
    folder = f"FOLDER = {model(settings, settings.strong)!r}\n"
    programs, before = {}, ""
    for name, statements in IMPORTS.items():
        before += statements + "\n"
        programs[name] = before
    programs["torch, the tokenizer and the weights without transformers"] = WITHOUT_AUTO

    def seconds(statements: str) -> float:
        words = [sys.executable, "-W", "ignore", "-c", f"{AS_A_WORKER}{folder}{statements}\ngc.freeze()"]
        return run(words, settings.threads, settings.work).cpu_s

    return [
        record(PART, name, [seconds(statements) for _ in range(settings.starts)], "CPU s", better="less")
        for name, statements in programs.items()
    ]


def _to_first_update(settings: Settings, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds from the start of a fresh command to its first update, where its worker is killed.

    The command is `w2s label`, which trains the weak supervisor only: `train` would go on with the ceiling, and be killed again.
    """
    folder.mkdir()
    started = time.time()
    took = w2s(["label"], settings.threads, folder, (1,), W2S_FAULT="finetune.step", W2S_FAULT_LOG=str(folder / "hit"))
    return (folder / "hit").stat().st_mtime - started, took.cpu_s
