"""The stages of a finished run again, in one process as a worker runs them, with a stopwatch around each part.

Each stage.json of the run is copied to an empty outputs folder and given to the worker's own code. Only the stopwatches differ.
"""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main_as_worker

CHECKPOINT = "checkpoint"
TIMED = (  # module of w2s_cli, its function, name of the part; a stage imports these when it runs, so it gets the timed ones
    ("stages.rows", "run", "rows"),
    ("training.tokens", "open_tokenizer", "tokenise"),
    ("training.prompting", "encode_for", "tokenise"),
    ("training.models.classifier", "open_base", "load models"),
    ("training.models.classifier", "open_finished", "load models"),
    ("training.loop", "train", "train"),
    ("training.models.forward_pass", "predict", "label"),
    ("stages.evaluate", "run", "evaluate"),
    ("training.models.saving", "save_model", "save models"),
    ("store.publishing", "publish", "publish"),
    ("run.runner", "provenance", "provenance"),
    ("training.checkpoint", "save", CHECKPOINT),
)


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("start-up"):
        import transformers  # noqa: F401
        from transformers import AutoModelForSequenceClassification  # noqa: F401 - what loading a model would import

        from w2s_cli.run.runner import Runner

        owners = [importlib.import_module(f"w2s_cli.{name}") for name, _, _ in TIMED]
    events: list[dict[str, Any]] = []
    run = Runner(events.append)
    for place, (_, function, name) in zip(owners, TIMED, strict=True):
        watch.around(place, function, name)
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
