"""A linear head on stored features, and its way back into a full model.

`features` are those of the `features` stage: last-token hidden states of the frozen trunk, joined to rows by id.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

from w2s_cli.errors import UserError

HEAD = "score.weight"  # the head's name in every causal AutoModelForSequenceClassification


def read_features(folder: Path, ids: list[str]) -> np.ndarray:
    """Features of the rows `ids`, in that order: [rows, width] fp32."""
    at = {name: row for row, name in enumerate(json.loads((folder / "ids.json").read_text(encoding="utf-8")))}
    missing = [name for name in ids if name not in at]
    if missing:
        raise UserError(f"{folder} has no features of row {missing[0]} ({len(missing)} such rows)")
    features: np.ndarray = load_file(folder / "features.safetensors")["features"]
    return features[[at[name] for name in ids]]


def new_head(width: int, classes: int) -> nn.Linear:
    """A zero head without bias, as a causal model's `score`."""
    head = nn.Linear(width, classes, bias=False)
    nn.init.zeros_(head.weight)
    return head


def logits(folder: Path, features: np.ndarray) -> np.ndarray:
    """Logits [rows, classes] fp32 of the probe saved in the model folder; only the head is read."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            if HEAD in file.keys():  # noqa: SIM118 (not a dict)
                return (features @ file.get_tensor(HEAD).T).astype(np.float32)  # type: ignore[no-any-return]
    raise UserError(f"{folder} has no {HEAD}: it is not the model of a probe")
