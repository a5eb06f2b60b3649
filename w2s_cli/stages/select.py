"""select: one labels artifact becomes another by a rule of w2s_cli.selection: filters, relabelling, true labels, controls.

* Labels and features are joined by row id. The rule sees the rows in an order drawn by hash (see w2s_cli.selection), the
  result is in the pool's order; a row whose probabilities the rule leaves alone keeps its logits too.
* Every row of the pool stands in the result once, with a `covered` column: false for a row without a label.
* Ground truth is read for the metrics. A rule sees it only if its file says NEEDS_TRUTH, and then the metrics say
  uses_truth: such labels are a control or a bound, no weak supervision.
* A pair's features are those of its second text less those of its first, as its reward difference is.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from w2s_cli.context import Context
from w2s_cli.data.draw import drawer
from w2s_cli.errors import UserError, of_user_code
from w2s_cli.selection import Labels, Rule, Selected, load_rule
from w2s_cli.statistics.figures import Booleans, Floats, predicted
from w2s_cli.statistics.predictions import check_classes, read_labels, read_truth
from w2s_cli.store.faults import fault
from w2s_cli.training.stored_features import read_features

SMALLEST = 1e-7  # probability that stands for 0 in a logit, as in imported labels
TOLERANCE = 1e-3  # by which probabilities may fail to add up to 1


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id; p, logits: list<float32>[classes]; covered) in the order of the rows.

    Args:
        params: rule (name, args, code), seed.
        inputs: rows, labels, and features (of the same rows) if the rule looks at them.

    Returns:
        rows, coverage, accuracy and mean_p (over covered rows); accuracy_before (over the rows covered before), coverage_before;
        kept_right, kept_wrong, dropped_right, dropped_wrong (rows, by the labels before); corrected, spoiled (rows covered
        before and after whose label became right, or wrong); uses_truth; diagnostics of the rule.

    Raises:
        UserError: other row ids than the rows', labels that are no probabilities, unknown rules and arguments, no label left.
    """
    fault("select.start")
    rule = load_rule(params["rule"]["name"], ctx.execution.get("select_folders", ()))
    rows, folder = cast(Path, inputs["rows"]), cast(Path, inputs["labels"])
    ids, truth = read_truth(rows)
    if not ids:
        raise UserError(f"{rows} has no rows: raise the limit of its pool")
    said = read_labels(folder, ids)
    check_classes(truth, {"labels": said}, {"labels": folder})
    p, logits = said.p[0], said.logits[0]
    covered = np.ones(len(ids), dtype=np.bool_) if said.covered is None else said.covered[0]
    features = _features(rule, params["rule"]["name"], inputs.get("features"), ids)
    fault("select.step")

    draw = drawer("selection", "order", params["seed"])
    order = np.array(sorted(range(len(ids)), key=lambda row: (draw(ids[row]), ids[row])))
    shuffled = Labels(
        [ids[row] for row in order],
        p[order],
        covered[order],
        None if features is None else features[order],
        truth[order] if rule.needs_truth else None,
        params["seed"],
    )
    selected = _apply(rule, shuffled, params["rule"])
    back = np.argsort(order)
    new_p, new_covered = selected.p[back], selected.covered[back]
    same = (new_p.astype(np.float32) == p.astype(np.float32)).all(axis=1)
    new_logits = np.where(same[:, None], logits, np.log(np.maximum(new_p, SMALLEST)))
    _write(ctx.result / "labels.parquet", ids, new_p, new_logits, new_covered)
    ctx.progress(len(ids), len(ids), examples=len(ids))
    changes = _changes(predicted(p) == truth, covered, predicted(new_p) == truth, new_covered)
    found: dict[str, Any] = _tidy(
        {
            "rows": len(ids),
            "coverage": new_covered.mean(),
            "accuracy": (predicted(new_p) == truth)[new_covered].mean(),
            "coverage_before": covered.mean(),
            "accuracy_before": (predicted(p) == truth)[covered].mean() if covered.any() else None,
            "mean_p": new_p[new_covered].mean(axis=0),
            **changes,
            "uses_truth": rule.needs_truth,
            "diagnostics": dict(selected.diagnostics),
        }
    )
    return found


def _features(rule: Rule, name: str, given: Path | list[Path] | None, ids: list[str]) -> NDArray[np.float32] | None:
    """[rows, width] fp32, for a rule that looks at them."""
    if not rule.needs_features:
        return None
    if given is None:
        raise UserError(f"select={name} looks at features of the rows; the stage must name the model that gives them")
    features = read_features(cast(Path, given), ids).astype(np.float32)
    return features[:, 1] - features[:, 0] if features.ndim == 3 else features


def _apply(rule: Rule, labels: Labels, named: Mapping[str, Any]) -> Selected:
    """What the rule makes of the labels; arguments it does not take and labels that are none are refused."""
    name, args = named["name"], dict(named.get("args") or {})
    try:
        inspect.signature(rule.function).bind(labels, **args)
    except TypeError as error:
        raise UserError(f"rule {name}: {error}; it takes {inspect.signature(rule.function)}") from error
    try:
        selected = rule.function(labels, **args)
        p, covered = np.asarray(selected.p, dtype=np.float64), np.asarray(selected.covered)
        diagnostics = selected.diagnostics
    except UserError:
        raise
    except Exception as error:  # whatever the user's file does
        raise of_user_code(f"the rule {name}", error) from error
    if p.shape != labels.p.shape or covered.shape != p.shape[:1] or covered.dtype != np.bool_:
        raise UserError(
            f"rule {name} gives p {list(p.shape)} and covered {list(covered.shape)} ({covered.dtype}) for "
            f"{list(labels.p.shape)} rows and classes; covered must be true or false"
        )
    if not ((p >= 0).all() and (np.abs(p.sum(axis=1) - 1) <= TOLERANCE)[covered].all()):  # NaN fails this too
        raise UserError(f"rule {name} gives values that are no probabilities, or do not add up to 1")
    if not covered.any():
        raise UserError(f"rule {name} with {args} leaves none of the {len(p)} rows with a label; let it keep more")
    return Selected(p, covered, diagnostics)


def _changes(right: Booleans, covered: Booleans, now_right: Booleans, now_covered: Booleans) -> dict[str, int]:
    """Rows by what became of their label."""
    kept, dropped = covered & now_covered, covered & ~now_covered
    return {
        "kept_right": int((kept & right).sum()),
        "kept_wrong": int((kept & ~right).sum()),
        "dropped_right": int((dropped & right).sum()),
        "dropped_wrong": int((dropped & ~right).sum()),
        "corrected": int((kept & ~right & now_right).sum()),
        "spoiled": int((kept & right & ~now_right).sum()),
    }


def _write(path: Path, ids: Sequence[str], p: Floats, logits: Floats, covered: Booleans) -> None:
    offsets = pa.array(np.arange(len(ids) + 1) * p.shape[1], pa.int32())

    def lists(matrix: Floats) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel().astype(np.float32), pa.float32()))

    columns = {"id": pa.array(ids, pa.string()), "p": lists(p), "logits": lists(logits)}
    pq.write_table(pa.table(columns | {"covered": pa.array(covered, pa.bool_())}), path)


def _tidy(value: Any) -> Any:
    """`value`, of NumPy or not, as JSON: 10 decimals, so that the last bits of a sum do not reach the checksum."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(item) for item in value]
    if isinstance(value, float):
        return round(value, 10) if math.isfinite(value) else None
    return value
