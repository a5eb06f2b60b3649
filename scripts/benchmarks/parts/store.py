"""A store of ten thousand finished stages: `w2s ls`, `plan` and `table`.

One small real run is copied under other seeds, with keys, records, plans and results of their own, until the store is full; results are
hard links, since only how many there are matters here. The copies' results are named as 50 data sets, 5 losses and further seeds.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks.processes import Took, w2s
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings
from w2s_cli.results.reader import FORMAT
from w2s_cli.store import keys

PART = "store"
RUN = ["debug=tiny", "strong=wordnet-s", "keep_weights=false"]
LOSSES = ("xent", "logconf", "entropy", "product", "window")


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    folder = settings.work / "store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    w2s(["train", *RUN], settings.threads, folder)
    stages = fill(folder / "outputs", settings.stages)
    say(f"  {stages} stages")
    commands = {"ls": ["ls"], "plan": ["plan", *RUN, "seed=3"], "table": ["table"]}
    taken: dict[str, list[Took]] = {name: [] for name in commands}
    for repeat in range(settings.starts + 1):
        for name, words in commands.items():
            took = w2s(words, settings.threads, folder)
            if repeat:  # the first one reads from the disk, and fills the caches that commands keep
                taken[name].append(took)
    return [
        record(PART, f"w2s {name} in a store of {settings.stages:,} stages", [took.wall_s for took in runs], "s",
               better="less", target=1.0, note=f"{min(took.cpu_s for took in runs):.2f} CPU s")
        for name, runs in taken.items()
    ]  # fmt: skip


def fill(outputs: Path, count: int) -> int:
    """Copy the only run in `outputs` under further seeds until there are `count` stages; returns how many there are."""
    (run,) = outputs.glob("runs/*/*")
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))["stages"]
    folders = {path.name[-12:]: path for path in outputs.glob("stages/*/*-*")}
    made, seed = len(folders), 0
    while made < count:
        seed += 1
        made += _copy(run, plan, folders, seed)
    return made


def _copy(run: Path, plan: list[dict[str, Any]], folders: dict[str, Path], seed: int) -> int:
    """One copy of the run with another seed; returns how many stages are new."""
    renamed: dict[str, str] = {}
    new = 0
    for stage in plan:
        there = folders[stage["key"]]
        job = json.loads((there / "stage.json").read_text(encoding="utf-8"))
        if job["kind"] == "finetune":
            job["params"]["seed"] = seed
        job["inputs"] = _other(job["inputs"], renamed)
        ident = {name: job[name] for name in ("format", "kind", "version", "params", "inputs")}
        job["key"] = renamed[stage["key"]] = keys.stage_key(ident)
        if job["key"] in folders:
            continue
        folder = there.with_name(there.name.replace(stage["key"], job["key"]))
        shutil.copytree(there / "result", folder / "result", copy_function=os.link)
        _write(folder / "stage.json", job)
        record_ = json.loads((there / "record.json").read_text(encoding="utf-8"))
        record_["inputs"] = {renamed[key]: value for key, value in record_["inputs"].items()}
        _write(folder / "record.json", {**record_, "key": job["key"]})
        new += 1
    target = run.with_name(f"{run.name[:-8]}{seed:08x}")
    target.mkdir()
    shutil.copy(run / "config.yaml", target)
    moved = [{**one, "key": renamed[one["key"]], "inputs": _other(one["inputs"], renamed)} for one in plan]
    _write(target / "plan.json", {"format": FORMAT, "stages": moved})
    names = {"data": f"set{seed % 50}", "loss": LOSSES[seed // 50 % len(LOSSES)], "seeds": [seed // 250]}
    entries = json.loads((run / "results.json").read_text(encoding="utf-8"))["entries"]
    moved = [{**one, "key": renamed[one["key"]], **names} for one in entries]
    _write(target / "results.json", {"format": FORMAT, "entries": moved})
    return new


def _other(inputs: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    return {
        edge: [renamed[key] for key in named] if isinstance(named, list) else renamed[named]
        for edge, named in inputs.items()
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
