"""w2s: weak-to-strong generalization experiments as resumable stages."""

import json
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def load(run: str | Path) -> list[dict[str, Any]]:
    """The results of a run or sweep folder, one flat row per table, for a notebook: `pandas.DataFrame(w2s_cli.load(folder))`.

    Accuracies and PGR are shares; `<name>_low` and `<name>_high` are the bounds of their intervals, None where they are unbounded.
    """
    rows = []
    for entry in json.loads((Path(run) / "results.json").read_text(encoding="utf-8")):
        metrics = entry["metrics"]
        row = {
            name: entry[name] for name in ("stage", "key", "weak", "strong", "data", "method", "loss", "train", "seeds")
        }
        figures = {f"{role}_accuracy": metrics[role] for role in ("weak", "student", "ceiling") if role in metrics}
        figures |= {"pgr": metrics["pgr"]} if "pgr" in metrics else {}
        for name, block in figures.items():
            low, high = block["interval"] or (None, None)
            row |= {name: block.get("accuracy", block.get("value")), f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"rows": metrics["rows"]})
    return rows
