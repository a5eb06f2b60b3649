"""A file of labels by people, an API model, anything: which row each of its labels is for, and its probabilities.

* Joined by row id, never by position: every row of the pool must be in the file once; rows of other pools may be.
* The file says `label` (a class number or name) or `p` (probability of class 1, or a list with one probability per class).
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from w2s_cli.data.labels import class_reader, refuse_bad
from w2s_cli.data.rows import Rows
from w2s_cli.errors import UserError
from w2s_cli.statistics.figures import TOLERANCE, Floats

SHOWN = 3  # ids named in a message


def file_order(labels: Rows, ids: Sequence[str]) -> list[int]:
    """For each row of the pool, the position of its label in the file; the file may have labels of other pools' rows too."""
    labelled = [
        str(value) for value in labels.column(labels.need("id", "labels.path: a label file has id and label or p"))
    ]
    place = {name: position for position, name in enumerate(labelled)}
    of_this_pool = set(ids)
    problems = {
        "come more than once": [name for name, times in Counter(labelled).items() if times > 1],
        "are no rows of this pool": [name for name in place if name not in of_this_pool],
        "are missing": [name for name in ids if name not in place],
    }
    sentences = [
        f"{len(names):,} ids {what} ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
        for what, names in problems.items()
        if names
    ]
    if problems["come more than once"] or problems["are missing"]:
        raise UserError(
            f"{labels.shown}: {'; '.join(sentences)}. It must label each of the {len(ids):,} rows of this pool once; "
            "their ids are in rows.parquet of the rows stage (w2s ls shows where). Each seed draws its own training rows: data.seed=0 "
            "pins those of seed 0, and labels.path=FILE-${seed}.jsonl has a file for each seed."
        )
    return [place[name] for name in ids]


def probabilities(labels: Rows, classes: Sequence[str]) -> Floats:
    """[rows of the file, classes]."""
    columns = [name for name in ("p", "label") if name in labels.columns]
    if len(columns) != 1:
        both = "has both" if columns else "has neither"
        raise UserError(
            f'{labels.shown} {both} a column "p" (probability of class 1, or one per class) and "label" (class number or '
            f"name); give one of them. It has {', '.join(labels.columns)}."
        )
    values = labels.column(columns[0])
    if columns == ["label"]:
        read_label = class_reader(classes)
        numbers = [read_label(value) for value in values]
        refuse_bad(labels, "label", numbers, lambda number: number if isinstance(number, str) else None)
        return np.eye(len(classes))[[number for number in numbers if isinstance(number, int)]]
    rows = [_row(value, len(classes)) for value in values]
    refuse_bad(labels, "p", rows, lambda row: row if isinstance(row, str) else None)
    return np.array(rows)


def _row(value: Any, classes: int) -> list[float] | str:
    """One row's probabilities, or a text that says what is wrong with them; csv cells may hold a number or a JSON list."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
        row = [float(v) for v in parsed] if isinstance(parsed, list) else [1 - float(parsed), float(parsed)]
    except (TypeError, ValueError):
        return f"{value!r} is no probability."
    if not isinstance(parsed, list) and classes != 2:
        return f"one number for {classes} classes; give a list of {classes} probabilities."
    if len(row) != classes:
        return f"{len(row)} probabilities for {classes} classes."
    if not all(0 <= v <= 1 for v in row):  # NaN fails this too
        return f"{value!r}: a probability lies between 0 and 1."
    if abs(sum(row) - 1) > TOLERANCE:
        return f"the probabilities add up to {sum(row):.6g}, not to 1."
    return [v / sum(row) for v in row]
