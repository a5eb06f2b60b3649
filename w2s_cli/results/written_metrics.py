"""The figures by step that a training stage has written to metrics.jsonl."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

Points = list[tuple[float, float]]  # step, value
Curve = dict[str, Points]  # quantity → its points
NOT_SHOWN = {"step", "lr"}  # the learning rate is in the configuration


def read_curve(path: Path) -> Curve:
    """The curves of a metrics.jsonl, without cut-short lines."""
    curve: Curve = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    for line in text.splitlines():
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or not _number(entry.get("step")):
            continue
        for name, value in entry.items():
            if name not in NOT_SHOWN and _number(value):
                curve.setdefault(name, []).append((float(entry["step"]), float(value)))
    return curve


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
