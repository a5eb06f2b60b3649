"""The finetune stage on a bundled model, here or in a process of its own, which can be killed and continued."""

import json
import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from scripts.benchmarks import material, models
from scripts.benchmarks import settings as benchmark
from scripts.benchmarks.programs.ours import params
from scripts.gpu_checks import learning
from scripts.gpu_checks.settings import Settings

LR = 3e-4


def finetune(settings: Settings, name: str, precision: str = "fp32", seed: int = 0, **execution: Any) -> None:
    """Train in the folder `name` of the work folder: from its newest checkpoint, if it has one. Losses are in its metrics.jsonl."""
    from w2s_cli.stages import finetune as stage

    base = models.base(settings.bundled, settings.work / "models")
    pool = material.rows(benchmark.tiny(settings.work), "stages", settings.stage_rows, mean_tokens=settings.mean_tokens)
    job = {
        "epochs": 1,
        "lr": LR,
        "batch": settings.batch,
        "max_length": settings.max_length,
        "precision": precision,
    }
    ctx = learning.context(settings, name, model_path=str(base), log_every=1, **execution)
    stage.run(params(job, seed), {"rows": pool}, ctx)


def start(settings: Settings, name: str, **options: Any) -> BaseProcess:
    """`finetune` in a process of its own; its output goes to the folder's output.txt, and its end, if it comes to one, to `done`."""
    context: Any = multiprocessing.get_context(settings.copies)
    process: BaseProcess = context.Process(target=_run, args=(settings, name, options))
    process.start()
    return process


def end(process: BaseProcess, settings: Settings, name: str) -> None:
    """Wait for the process.

    Raises:
        RuntimeError: it has failed; with the end of its output.
    """
    process.join()
    if process.exitcode != 0:
        output = (settings.work / name / "output.txt").read_text(errors="replace")
        raise RuntimeError(f"the training {name} ended with {process.exitcode}:\n{output[-2000:]}")


def seconds(settings: Settings, name: str) -> float:
    """How long a finished process took, from its first line."""
    return float((settings.work / name / "done").read_text())


def losses(settings: Settings, name: str) -> list[float]:
    """The loss of each update so far."""
    path = settings.work / name / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [float(json.loads(line)["loss"]) for line in lines if line.endswith("\n")]


def weights(settings: Settings, name: str) -> dict[str, Any]:
    """The tensors of a finished training's model, on the CPU."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(settings.work / name / "result" / "model" / "model.safetensors")
    return tensors


def largest_difference(one: list[float], other: list[float]) -> float:
    """Of the losses of two trainings, update by update; infinite if they have not as many updates."""
    if not one or len(one) != len(other):
        return float("inf")
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _run(settings: Settings, name: str, options: dict[str, Any]) -> None:
    began = time.monotonic()
    folder = settings.work / name
    folder.mkdir(parents=True, exist_ok=True)
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    finetune(settings, name, **options)
    Path(folder / "done").write_text(str(time.monotonic() - began))
