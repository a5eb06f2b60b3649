"""The stages of a finished run again, in one process as a worker runs them, with a stopwatch around each part.

Each stage.json of the run is copied to an empty outputs folder and given to the worker's own code. Only the stopwatches differ.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main_as_worker

CHECKPOINT = "checkpoint"


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("start-up"):
        import transformers  # noqa: F401
        from transformers import AutoModelForSequenceClassification  # noqa: F401 - what loading a model would import

        from w2s_cli.run import worker
        from w2s_cli.stages import evaluate, finetune, label, rows
        from w2s_cli.store import publishing as publish
        from w2s_cli.training import checkpoint
        from w2s_cli.training.models import classifier
    events: list[dict[str, Any]] = []
    run = worker.Worker(events.append)
    for module, function, name in (
        (rows, "run", "rows"),
        (finetune, "open_tokenizer", "tokenise"),
        (finetune, "encode_for", "tokenise"),
        (label, "open_tokenizer", "tokenise"),
        (label, "encode_for", "tokenise"),
        (classifier, "open_base", "load models"),
        (label, "open_finished", "load models"),
        (finetune, "train", "train"),
        (label, "predict", "label"),
        (evaluate, "run", "evaluate"),
        (finetune, "save_model", "save models"),
        (publish, "publish", "publish"),
        (worker, "provenance", "provenance"),
        (checkpoint.Writer, "save", CHECKPOINT),
    ):
        watch.around(module, function, name)
    outputs, again = Path(job["outputs"]), Path(job["work"]) / "outputs"
    shutil.copytree(
        outputs / ".cache", again / ".cache"
    )  # digests and fingerprints that the command itself has made by then
    (plan,) = outputs.glob("runs/*/*/plan.json")
    folders = {path.name[-12:]: path for path in outputs.glob("stages/*/*-*")}
    for stage in json.loads(plan.read_text(encoding="utf-8"))["stages"]:
        there = folders[stage["key"]]
        folder = again / there.relative_to(outputs)
        folder.mkdir(parents=True)
        shutil.copy(there / "stage.json", folder)
        if run.run(folder) != "done":
            raise RuntimeError(f"{there.name}: {events[-1]}")
    for seconds in (watch.wall, watch.cpu):
        seconds["train"] -= seconds.setdefault(CHECKPOINT, 0.0)  # it is a part of the loop
    return watch.figures()


if __name__ == "__main__":
    main_as_worker(work)
