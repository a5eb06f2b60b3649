"""features.safetensors: the frozen features of a model's trunk on a pool, and ids.json with the ids of their rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from w2s_cli.data.artifacts import FEATURES
from w2s_cli.errors import UserError
from w2s_cli.store.files import disk_errors, read_json, write_json
from w2s_cli.store.shapes import fits

IDS = "ids.json"


class _Cut(TypedDict):
    """The texts that a model read in part."""

    rows: int
    share: float
    limit: NotRequired[int]  # tokens; an older w2s did not write it


class _Unread(TypedDict):
    """Metrics of a stage that read texts, as far as they tell of what it did not read."""

    truncated: NotRequired[_Cut | None]
    empty: NotRequired[int | None]


class _Manifest(TypedDict):
    """manifest.json of features."""

    metrics: _Unread


def write_features(folder: Path, ids: list[str], features: NDArray[Any]) -> None:
    """Write the artifact; `features` is [rows, width] or, of pairs, [rows, 2, width] fp32."""
    with disk_errors():
        save_file({"features": features}, folder / FEATURES)
    write_json(folder / IDS, ids)


def read_features(folder: Path, ids: Sequence[str]) -> NDArray[np.float32]:
    """Features of the rows `ids`, in that order: [rows, width] or, of pairs, [rows, 2, width] fp32.

    Other rows may be in the file; UserError for a row that is not.
    """
    at = {name: row for row, name in enumerate(json.loads((folder / IDS).read_text(encoding="utf-8")))}
    missing = [name for name in ids if name not in at]
    if missing:
        raise UserError(f"{folder} has no features of row {missing[0]} ({len(missing)} such rows)")
    features: NDArray[np.float32] = load_file(folder / FEATURES)["features"]
    return features[[at[name] for name in ids]]


def unread_counts(folder: Path) -> tuple[dict[str, Any] | None, int | None]:
    """The cut texts behind the features, and the number of texts without a token, by the metrics of their stage; None if unknown."""
    manifest = read_json(folder / "manifest.json")
    metrics = manifest["metrics"] if fits(manifest, _Manifest) else {}
    return metrics.get("truncated"), metrics.get("empty")
