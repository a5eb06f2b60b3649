"""The sizes of models, and the compute of their training.

* The number of parameters comes from the model's configuration, else from the headers of its safetensors files.
* The student is in the first stage with a model in its result, upwards from the evaluation.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.results.reader import Entry, Run
from w2s_cli.results.stages import Stage, read_stage

HEADER_LIMIT = 100_000_000  # bytes; a longer header is no safetensors file
MODEL = "model/"  # folder of a model in a result


def trained(entry: Entry) -> Stage | None:
    """The stage that made an entry's student; None if it is not stored."""
    store = entry.run.store
    key = next((read_stage(store, one).inputs.get("student") for one in entry.evaluations), None)
    for _ in range(len(entry.run.plan) + 2):  # ends even if files were edited into a circle
        stage = read_stage(store, key) if isinstance(key, str) else None
        if stage is None or stage.folder is None:
            return None
        if any(name.startswith(MODEL) for name in stage.manifest.get("files", ())):
            return stage
        key = stage.inputs.get("model") or next(iter(stage.inputs.values()), None)
    return None


def parameters(entry: Entry) -> float | None:
    """Parameters of an entry's strong model; None if unknown."""
    models = [model for model in _strong_models(entry.run) if model.get("name") == entry.fields["strong"]]
    for model in models:
        if isinstance(model.get("parameters"), int | float):
            return float(model["parameters"]) * 1e6  # configurations have millions
        path = model.get("path")
        if path and len({other.get("path") for other in models}) == 1:
            counted = _counted_at(str(path))
            if counted:
                return float(counted)
    stage = trained(entry)
    return float(count_parameters(stage.result / "model")) or None if stage and stage.result else None


def flops(entry: Entry) -> float | None:
    """Floating point operations of the student's training, 6 × parameters × tokens seen (Kaplan et al. 2020, section 2.1)."""
    size, stage = parameters(entry), trained(entry)
    tokens, epochs = (stage.metrics.get("tokens"), stage.params.get("epochs")) if stage else (None, None)
    if size is None or not isinstance(tokens, int | float) or not isinstance(epochs, int | float):
        return None
    return float(6 * size * tokens * epochs)


def _strong_models(run: Run) -> Iterator[Mapping[str, Any]]:
    for config in run.configs:
        model = config.get("strong")
        if isinstance(model, dict):
            yield model


def _counted_at(path: str) -> int:
    try:
        return count_parameters(locate(path))
    except UserError:  # a model that no longer ships with w2s
        return 0


def count_parameters(folder: Path) -> int:
    """Numbers in the safetensors files of a checkpoint, from their headers; 0 without files, or with an adapter only."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        if path.name.startswith("adapter"):
            continue
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, HEADER_LIMIT)))
            total += sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            return 0
    return total
