"""The whole pipeline, weak supervisor → labels → ceiling → student → evaluation: `w2s train` against the reference loop.

Everything from the start of the command to its end, on the same pools: w2s has its store, worker, checksums and PGR in it; the reference
loop is one process that reads its rows ready-made. The parts are the stages of one such run, done again in one process with stopwatches.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from scripts.benchmarks import comparing, texts
from scripts.benchmarks.material import job, model
from scripts.benchmarks.parts.training import within_noise
from scripts.benchmarks.processes import Took, program, w2s
from scripts.benchmarks.records import Record, record
from scripts.benchmarks.settings import Settings

PART = "pipeline"
RANDOM = ("gpt2-2x128", "gpt2-4x256")


def measure(settings: Settings, say: Callable[[str], None] = print) -> list[Record]:
    records = compare(settings, say)
    if settings.size == "full":  # the shapes of the first measurements; random weights learn nothing in 30 updates
        fewer = max(1, settings.repeats // 2)  # seeds matter to accuracies only
        records += compare(replace(settings, weak=RANDOM[0], strong=RANDOM[1], repeats=fewer), say, accuracy=False)
    return records


def compare(settings: Settings, say: Callable[[str], None], *, accuracy: bool = True) -> list[Record]:
    """One pair of models; the accuracies are compared where something can be learned."""
    runs = comparing.in_turn(
        {
            "w2s fp32": partial(_ours, settings, "fp32"),
            "reference loop fp32": partial(_reference, settings),
            "w2s bf16": partial(_ours, settings, "bf16"),
        },
        settings.repeats,
        say,
    )
    exact, loop, fast = runs.values()
    pair = f"{settings.weak} → {settings.strong}"
    named = partial(record, PART)
    records = [
        named(f"{pair}, fp32, times less CPU than the reference loop", comparing.ratios(loop, exact), "×", target=2.5,
              detail=comparing.side_by_side(**runs)),
        named(f"{pair}, bf16, times less CPU than the reference loop in fp32", comparing.ratios(loop, fast), "×",
              target=4.0),
        named(f"{pair}, bf16, times less wall time than the reference loop in fp32",
              comparing.ratios(loop, fast, "wall_s"), "×"),
    ]  # fmt: skip
    if accuracy:
        apart = [comparing.right_apart(a, b) for a, b in zip(exact, loop, strict=True)]
        name = f"{pair}, fp32: test rows that only one of both students has right"
        records.append(named(name, [max(apart)], "rows", better="less", target=1))
        records.append(within_noise(PART, f"{pair}, bf16: accuracy minus the reference loop's, fp32", fast, loop))
    folder = _folder(settings, "bf16", 0)
    again = program("stages", {"outputs": str(folder / "outputs")}, settings.work, settings.threads)
    measured = {name: value for name, value in again.answer.items() if name.endswith("_cpu_s")}
    measured["other_cpu_s"] = max(0.0, again.cpu_s - sum(measured.values()))
    measured["command line, plan, scheduling_cpu_s"] = max(0.0, fast[0].cpu_s - again.cpu_s)
    for name, seconds in measured.items():
        records.append(named(f"{pair}, bf16, part: {name.removesuffix('_cpu_s')}", [seconds], "CPU s", better="less"))
    return records


def _folder(settings: Settings, precision: str, seed: int) -> Path:
    return settings.work / "pipeline" / f"{settings.weak}-{settings.strong}-{precision}-{seed}"


def _ours(settings: Settings, precision: str, seed: int) -> Took:
    """The real command with empty outputs."""
    folder = _folder(settings, precision, seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    took = w2s(["train", *words(settings, precision), f"seed={seed}"], settings.threads, folder)
    stages = stages_of(folder / "outputs")
    return Took(took.wall_s, took.cpu_s, took.peak_mib, _student(stages), took.output)


def words(settings: Settings, precision: str) -> list[str]:
    """The overrides of the benchmark's experiment."""
    needed = max((settings.train_rows + settings.pool_rows) / 0.4, settings.test_rows / 0.2)
    rows = round(1.25 * needed) + 40  # pools are drawn by hash: some more than their shares say
    data = settings.work / f"texts-{rows}-{settings.mean_tokens}.jsonl"
    if not data.exists():
        texts.write(data, rows, settings.mean_tokens)
    chosen = [f"data=local data.path={data} data.text=text data.label=label data.id=id data.name=bench".split()]
    for role, name in (("weak", settings.weak), ("strong", settings.strong)):
        chosen.append([f"{role}=local", f"{role}.path={model(settings, name)}", f"{role}.name={name}"])
        fields = {"lr": settings.lr, "max_length": settings.max_length, "precision": precision}
        chosen[-1] += [f"{role}.{field}={value}" for field, value in fields.items()]
        chosen[-1] += [f"{role}.batch_size={settings.batch}"]
    limits = {"weak_train": settings.train_rows, "strong_train": settings.train_rows, "test": settings.test_rows}
    chosen.append([f"data.limits.{pool}={count}" for pool, count in limits.items()])
    chosen.append([f"train.epochs={settings.epochs}", f"launcher.threads={settings.threads}", "launcher.device=cpu"])
    return [word for group in chosen for word in group] + ["data.truncation=right"]


def stages_of(outputs: Path) -> dict[str, Path]:
    """Stage name → folder of the only run in `outputs`, inputs first."""
    (plan,) = outputs.glob("runs/*/*/plan.json")
    folders = {path.name[-12:]: path for path in outputs.glob("stages/*/*-*")}
    return {stage["name"]: folders[stage["key"]] for stage in json.loads(plan.read_text(encoding="utf-8"))["stages"]}


def _student(stages: dict[str, Path]) -> dict[str, Any]:
    """Which test rows the student has right, in the order of the test pool."""
    import pyarrow.parquet as pq

    def rows_of(stage: Path) -> Path:
        keys = json.loads((stage / "stage.json").read_text(encoding="utf-8"))["inputs"]
        return next(path for path in stages.values() if path.name.endswith(keys["rows"])) / "result"

    test = pq.read_table(rows_of(stages["student_test"]) / "rows.parquet")["label"].to_pylist()
    p = pq.read_table(stages["student_test"] / "result" / "labels.parquet")["p"].to_pylist()
    right = [int((one[1] > one[0]) == bool(label)) for one, label in zip(p, test, strict=True)]
    weak, test_rows = rows_of(stages["weak"]), rows_of(stages["student_test"])
    pools = {"weak_train": str(weak), "train": str(rows_of(stages["student"])), "test": str(test_rows)}
    return {"right": right, "accuracy": sum(right) / len(right), "pools": pools}


def _reference(settings: Settings, seed: int) -> Took:
    pools = _student(stages_of(_folder(settings, "fp32", seed) / "outputs"))["pools"]
    what = {**job(settings, settings.strong, ()), **pools, "weak": model(settings, settings.weak), "pipeline": True}
    return program("reference", {**what, "seed": seed}, settings.work, settings.threads)
