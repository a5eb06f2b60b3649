"""combine: the labels of several supervisors as one, by a rule of w2s_cli.combining; arithmetic on files, no torch.

* Labels are joined by row id; supervisors that label other rows are refused.
* A supervisor abstains where its labels say covered=false, and where its largest probability is below `abstain_below`.
* The result is a labels artifact in which every row of the pool stands once, always with a `covered` column: whether rows
  are left out is for the rule to say.
* Ground truth is read for the metrics alone (who is how accurate, and whether the rule has it right); rules never see it.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from w2s_cli.combining import ABSTAINED, SMALLEST, Booleans, Combined, Rule, Votes, hard, load_rule
from w2s_cli.context import Context
from w2s_cli.errors import UserError, of_user_code
from w2s_cli.statistics.figures import Floats, Integers, predicted
from w2s_cli.statistics.predictions import check_classes, read_labels, read_truth
from w2s_cli.statistics.report import Predictions
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json

TOLERANCE = 1e-3  # by which probabilities may fail to add up to 1
ROUNDING = 1e-6  # labels are float32: 0.9 is read as 0.89999998
SURE = 1e-6  # no supervisor is taken to be wrong, or right, less often


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id; p, logits: list<float32>[classes]; covered) in the order of the rows.

    Args:
        params: rule (name, args), abstain_below (0: nobody abstains), prior (class balance, or null: the rule estimates it).
        inputs: rows; labels (one folder per supervisor); scores (optional, one folder per supervisor, whose manifest has
            the metric `weight` of a boosting round or `accuracy`); student (optional, labels of the current student).

    Returns:
        rows, accuracy (on covered rows), mean_p, coverage, agreement (of two supervisors, on rows that both label),
        agreements [supervisors, supervisors], supervisors (accuracy, coverage, estimated_accuracy, weight of each), and
        what else the rule found (diagnostics).

    Raises:
        UserError: other row ids than the rows', labels that are no probabilities, unknown rules and arguments, no label left.
    """
    fault("combine.start")
    rule = load_rule(params["rule"]["name"], ctx.execution.get("combine_folders", ()))
    ids, truth = read_truth(cast(Path, inputs["rows"]))
    folders = _folders(inputs["labels"])
    if not ids or not folders:
        raise UserError(f"{inputs['rows']}: nothing to combine; give a pool with rows and the labels of supervisors")
    said, voted = [], []
    for step, folder in enumerate(folders, start=1):
        said.append(_probabilities(folder, ids))
        voted.append(_covered(folder, ids))
        ctx.progress(step, len(folders), examples=step * len(ids))
        fault("combine.step")
    named = {f"labels {i}": Predictions(p[None], p[None]) for i, p in enumerate(said, start=1)}
    student = cast(Path, inputs["student"]) if inputs.get("student") else None
    sources = {f"labels {i}": folder for i, folder in enumerate(folders, start=1)}
    if student is not None:
        p = _probabilities(student, ids)
        named["student"], sources["student"] = Predictions(p[None], p[None]), student
    check_classes(truth, named, sources)
    p = np.stack(said)  # [supervisors, rows, classes]
    below = float(params.get("abstain_below") or 0.0)
    if not 0 <= below < 1:
        raise UserError(f"combine.abstain_below={below} must be at least 0 and below 1")
    votes = Votes(
        p,
        np.stack(voted) & (p.max(axis=2) >= below - ROUNDING),
        _weights(_folders(inputs.get("scores") or []), len(folders), p.shape[2]),
        named["student"].p[0] if student is not None else None,
        _prior(params.get("prior"), p.shape[2]),
    )
    combined = _apply(rule, votes, params["rule"])
    write_labels(ctx.result / "labels.parquet", ids, combined)
    return _metrics(votes, combined, truth)


def write_labels(path: Path, ids: Sequence[str], combined: Combined) -> None:
    """The labels artifact; logits are log p, with 0 taken as 1e-7."""
    offsets = pa.array(np.arange(len(ids) + 1) * combined.p.shape[1], pa.int32())

    def lists(matrix: Floats) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel().astype(np.float32), pa.float32()))

    columns = {
        "id": pa.array(ids, pa.string()),
        "p": lists(combined.p),
        "logits": lists(np.log(np.maximum(combined.p, SMALLEST))),
        "covered": pa.array(combined.covered, pa.bool_()),
    }
    pq.write_table(pa.table(columns), path)


def _folders(given: Path | list[Path]) -> list[Path]:
    return [given] if isinstance(given, Path) else list(given)


def _probabilities(folder: Path, ids: Sequence[str]) -> Floats:
    """p of a labels folder in the order of `ids`, summing to 1 in float64, [rows, classes]."""
    p = read_labels(folder, ids).p[0]
    sums = p.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > TOLERANCE)
    if len(wrong):
        raise UserError(
            f"{folder / 'labels.parquet'}: the probabilities of row {ids[wrong[0]]} add up to {sums[wrong[0]]:.6g}, not to 1 "
            f"({len(wrong)} such rows); make the labels again"
        )
    return np.asarray(p / sums[:, None])


def _covered(folder: Path, ids: Sequence[str]) -> Booleans:
    """Which of `ids` have a label in the labels folder, [rows]; all of them if it does not say."""
    path = folder / "labels.parquet"
    if "covered" not in pq.read_schema(path).names:
        return np.ones(len(ids), dtype=np.bool_)
    table = pq.read_table(path, columns=["id", "covered"]).to_pydict()
    place = dict(zip(table["id"], table["covered"], strict=True))
    return np.array([bool(place[name]) for name in ids], dtype=np.bool_)


def _weights(folders: Sequence[Path], supervisors: int, classes: int) -> Floats | None:
    """Log-odds of being right of each supervisor, [supervisors]: `weight`, else log((K−1) a / (1−a)) of `accuracy`."""
    if not folders:
        return None
    if len(folders) != supervisors:
        raise UserError(
            f"combine: {len(folders)} scores for {supervisors} labels; give one score per supervisor, in the same order"
        )
    weights = []
    for folder in folders:
        metrics = (read_json(folder / "manifest.json") or {}).get("metrics", {})
        if metrics.get("weight") is not None:
            weights.append(float(metrics["weight"]))
        elif metrics.get("accuracy") is not None:
            right = min(max(float(metrics["accuracy"]), SURE), 1 - SURE)
            weights.append(math.log((classes - 1) * right / (1 - right)))
        else:
            raise UserError(
                f"{folder}: its metrics have neither weight nor accuracy; scores come from boost or label stages"
            )
    return np.array(weights)


def _prior(given: Sequence[float] | None, classes: int) -> Floats | None:
    if given is None:
        return None
    prior = np.asarray(given, dtype=np.float64)
    if prior.shape != (classes,) or not (prior >= 0).all() or abs(prior.sum() - 1) > TOLERANCE:
        raise UserError(f"combine.prior={list(given)} must be {classes} shares of the classes that add up to 1")
    return np.asarray(prior / prior.sum())


def _apply(rule: Rule, votes: Votes, named: Mapping[str, Any]) -> Combined:
    """What the rule makes of the votes; arguments it does not take and labels that are none are refused."""
    name, args = named["name"], dict(named.get("args") or {})
    try:
        inspect.signature(rule).bind(votes, **args)
    except TypeError as error:
        raise UserError(f"combine={name}: {error}; it takes {inspect.signature(rule)}") from error
    try:
        combined = rule(votes, **args)
        p, covered = np.asarray(combined.p, dtype=np.float64), np.asarray(combined.covered)
        diagnostics = combined.diagnostics
    except UserError:
        raise
    except Exception as error:  # whatever the user's file does
        raise of_user_code(f"the rule combine={name}", error) from error
    if p.shape != votes.p.shape[1:] or covered.shape != p.shape[:1] or covered.dtype != np.bool_:
        raise UserError(
            f"combine={name} gives p {list(p.shape)} and covered {list(covered.shape)} ({covered.dtype}) for "
            f"{list(votes.p.shape[1:])} rows and classes; covered must be true or false"
        )
    if not ((p >= 0).all() and (np.abs(p.sum(axis=1) - 1) <= TOLERANCE).all()):  # NaN fails this too
        raise UserError(f"combine={name} gives values that are no probabilities, or do not add up to 1")
    if not covered.any():
        raise UserError(
            f"combine={name} leaves none of the {len(p)} rows with a label: lower abstain_below, or let the rule drop fewer"
        )
    return Combined(p, covered, diagnostics)


def _metrics(votes: Votes, combined: Combined, truth: Integers) -> dict[str, Any]:
    chosen = hard(votes)  # [supervisors, rows]
    diagnostics = dict(combined.diagnostics)
    estimated = diagnostics.pop("estimated_accuracy", None) or [None] * len(chosen)
    supervisors = [
        {
            "accuracy": _share(said == truth, said != ABSTAINED),
            "coverage": float((said != ABSTAINED).mean()),
            "estimated_accuracy": guess,
            "weight": None if votes.weights is None else float(votes.weights[i]),
        }
        for i, (said, guess) in enumerate(zip(chosen, estimated, strict=True))
    ]
    agreements = [[_share(a == b, (a != ABSTAINED) & (b != ABSTAINED)) for b in chosen] for a in chosen]
    pairs = [value for i, row in enumerate(agreements) for value in row[:i] if value is not None]
    found: dict[str, Any] = {
        "rows": len(truth),
        "accuracy": _share(predicted(combined.p) == truth, combined.covered),
        "mean_p": [float(mean) for mean in combined.p[combined.covered].mean(axis=0)],
        "coverage": float(combined.covered.mean()),
        "agreement": sum(pairs) / len(pairs) if pairs else None,
        "agreements": agreements,
        "supervisors": supervisors,
        "diagnostics": diagnostics,
    }
    tidy: dict[str, Any] = _tidy(found)
    return tidy


def _share(what: Any, among: Any) -> float | None:
    """Share of the rows `among` that are `what`; None of no rows."""
    return float(what[among].mean()) if among.any() else None


def _tidy(value: Any) -> Any:
    """`value`, of NumPy or not, as JSON: 10 decimals, so that last bits do not reach the checksum; None for what is not finite."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(item) for item in value]
    if isinstance(value, float):
        return round(value, 10) if math.isfinite(value) else None
    return value
