"""import_labels: labels from a file (people, an API model, anything) in the place of a weak supervisor's.

* Joined by row id, never by position: every row of the pool must be in the file once; rows of other pools may be.
* The file says `label` (a class number or name) or `p` (probability of class 1, or a list with one probability per class). The result is
  the artifact of a label stage; logits are the logarithms of the probabilities, with 0 taken as 1e-7.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from w2s_cli.context import Context
from w2s_cli.data.artifacts.labels import write_labels
from w2s_cli.data.artifacts.rows import read_rows
from w2s_cli.data.labels import class_reader
from w2s_cli.data.read import read
from w2s_cli.data.rows import Rows
from w2s_cli.data.sources import SplitFiles, format_of
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import TOLERANCE, Floats
from w2s_cli.store.faults import fault
from w2s_cli.store.files import digest

SHOWN = 3  # ids named in a message


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id; p, logits: list<float32>[classes]) in the order of the rows.

    Args:
        params: sha256 of the file at execution.labels_path.
        inputs: rows (result folder).

    Returns:
        rows, accuracy (against ground truth), mean_p (per class).

    Raises:
        UserError: another file than planned; missing, unknown or repeated ids; values that are no labels or probabilities.
    """
    fault("import_labels.start")
    path = Path(ctx.execution["labels_path"])
    if not path.is_file():
        raise UserError(f"labels.path: there is no file {path}.")
    if digest(path) != params["sha256"]:
        raise UserError(f"{path} is not what it was when this run was planned; run the command again.")
    data_format = format_of(path.name)
    if data_format is None:
        raise UserError(f"{path}: labels are read from jsonl, json, csv, tsv and parquet files (also .gz).")
    labels = read(SplitFiles(data_format, (path,)))
    rows = read_rows(cast(Path, inputs["rows"]), texts=False)
    order = _order(labels, rows.ids)
    fault("import_labels.step")
    p = _probabilities(labels, rows.classes)[order]  # [rows, classes]
    write_labels(ctx.result, rows.ids, p)
    ctx.progress(len(rows.ids), len(rows.ids), examples=len(rows.ids))
    return {
        "rows": len(rows.ids),
        "accuracy": float((p.argmax(axis=1) == rows.labels).mean()),
        "mean_p": [float(mean) for mean in p.mean(axis=0)],
    }


def _order(labels: Rows, ids: Sequence[str]) -> list[int]:
    """Where in the file each row's label stands; labels of other pools' rows may be there too, all in one file."""
    found = [
        str(value) for value in labels.column(labels.need("id", "labels.path: a label file has id and label or p"))
    ]
    place = {name: position for position, name in enumerate(found)}
    known = set(ids)
    problems = {
        "come more than once": [name for name, times in Counter(found).items() if times > 1],
        "are no rows of this pool": [name for name in place if name not in known],
        "are missing": [name for name in ids if name not in place],
    }
    said = [
        f"{len(names):,} ids {what} ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
        for what, names in problems.items()
        if names
    ]
    if problems["come more than once"] or problems["are missing"]:
        raise UserError(
            f"{labels.shown}: {'; '.join(said)}. It must label each of the {len(ids):,} rows of this pool once; "
            "their ids are in rows.parquet of the rows stage (w2s ls shows where)."
        )
    return [place[name] for name in ids]


def _probabilities(labels: Rows, classes: Sequence[str]) -> Floats:
    """[rows of the file, classes]."""
    given = [name for name in ("p", "label") if name in labels.columns]
    if len(given) != 1:
        both = "has both" if given else "has neither"
        raise UserError(
            f'{labels.shown} {both} a column "p" (probability of class 1, or one per class) and "label" (class number or '
            f"name); give one of them. It has {', '.join(labels.columns)}."
        )
    values = labels.column(given[0])
    if given == ["label"]:
        read_label = class_reader(classes)
        numbers = [read_label(v, f'{labels.shown}, column "label", row {row}') for row, v in enumerate(values)]
        return np.eye(len(classes))[numbers]
    return np.array(
        [_row(value, len(classes), f'{labels.shown}, column "p", row {row}') for row, value in enumerate(values)]
    )


def _row(value: Any, classes: int, where: str) -> list[float]:
    """One row's probabilities; csv cells may hold a number or a JSON list."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
        row = [float(v) for v in parsed] if isinstance(parsed, list) else [1 - float(parsed), float(parsed)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {value!r} is no probability.") from error
    if not isinstance(parsed, list) and classes != 2:
        raise UserError(f"{where}: one number for {classes} classes; give a list of {classes} probabilities.")
    if len(row) != classes:
        raise UserError(f"{where}: {len(row)} probabilities for {classes} classes.")
    if not all(0 <= v <= 1 for v in row):  # NaN fails this too
        raise UserError(f"{where}: {value!r}: a probability lies between 0 and 1.")
    if abs(sum(row) - 1) > TOLERANCE:
        raise UserError(f"{where}: the probabilities add up to {sum(row):.6g}, not to 1.")
    return [v / sum(row) for v in row]
