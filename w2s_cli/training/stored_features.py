"""Read the features stage's artifact: frozen features joined to rows by id. NumPy only, for stages without a model."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from w2s_cli.errors import UserError


def read_features(folder: Path, ids: list[str]) -> np.ndarray:
    """Features of the rows `ids`, in that order: [rows, width] or, of pairs, [rows, 2, width] fp32."""
    at = {name: row for row, name in enumerate(json.loads((folder / "ids.json").read_text(encoding="utf-8")))}
    missing = [name for name in ids if name not in at]
    if missing:
        raise UserError(f"{folder} has no features of row {missing[0]} ({len(missing)} such rows)")
    features: np.ndarray = load_file(folder / "features.safetensors")["features"]
    return features[[at[name] for name in ids]]
