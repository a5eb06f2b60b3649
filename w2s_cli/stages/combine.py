"""combine: the labels of several supervisors as one, by a rule of w2s_cli.combining; arithmetic on files, no torch.

* Labels are joined by row id; supervisors that label other rows are refused.
* A supervisor abstains where its labels say covered=false, and where its largest probability is below `abstain_below`.
* The result is a labels artifact in which every row of the pool stands once, always with a `covered` column: whether rows
  are left out is for the rule to say.
* Ground truth is read for the metrics alone (who is how accurate, and whether the rule has it right); rules never see it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from w2s_cli.combining import ABSTAINED, Combined, Votes, hard, load_rule
from w2s_cli.context import Context
from w2s_cli.data.artifacts.labels import Labels, check_classes, read_labels, write_labels
from w2s_cli.data.artifacts.rows import read_rows
from w2s_cli.errors import UserError
from w2s_cli.stages.rules import apply_rule
from w2s_cli.statistics.figures import TOLERANCE, Floats, Integers, as_json, predicted
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json

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
    rule = load_rule(params["rule"]["name"], ctx.execution.get("combine_folders", ()), params["rule"].get("code"))
    folders = _folders(inputs["labels"])
    if not folders:
        raise UserError(f"{inputs['rows']}: nothing to combine; give the labels of supervisors")
    rows = read_rows(cast(Path, inputs["rows"]), texts=False)
    supervisors: list[Labels] = []
    for step, folder in enumerate(folders, start=1):
        supervisors.append(read_labels(folder, rows.ids))
        ctx.progress(step, len(folders), examples=step * len(rows.ids))
        fault("combine.step")
    named = {f"labels {i}": labels for i, labels in enumerate(supervisors, start=1)}
    sources = {f"labels {i}": folder for i, folder in enumerate(folders, start=1)}
    if inputs.get("student"):
        sources["student"] = cast(Path, inputs["student"])
        named["student"] = read_labels(sources["student"], rows.ids)
    check_classes(rows.labels, named, sources)
    p = np.stack([_adding_up(labels.p) for labels in supervisors])  # [supervisors, rows, classes]
    below = float(params.get("abstain_below") or 0.0)
    if not 0 <= below < 1:
        raise UserError(f"combine.abstain_below={below} must be at least 0 and below 1")
    votes = Votes(
        p,
        np.stack([labels.has_label for labels in supervisors]) & (p.max(axis=2) >= below - ROUNDING),
        _weights(_folders(inputs.get("scores") or []), len(folders), p.shape[2]),
        _adding_up(named["student"].p) if "student" in named else None,
        _prior(params.get("prior"), p.shape[2]),
    )
    called, args = f"combine={params['rule']['name']}", params["rule"].get("args") or {}
    advice = "lower abstain_below, or let the rule drop fewer"
    combined = Combined(*apply_rule(rule, votes, args, called=called, every_row=True, advice=advice))
    write_labels(ctx.result, rows.ids, combined.p, covered=combined.covered)
    return _metrics(votes, combined, rows.labels)


def _folders(given: Path | list[Path]) -> list[Path]:
    return [given] if isinstance(given, Path) else list(given)


def _adding_up(p: Floats) -> Floats:
    """Probabilities [rows, classes], read from float32, that add up to 1 in float64; a row of zeros (it has no label) stays one."""
    sums = p.sum(axis=1, keepdims=True)
    return np.asarray(p / np.where(sums > 0, sums, 1.0))


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
    metrics: dict[str, Any] = as_json(found)
    return metrics


def _share(what: Any, among: Any) -> float | None:
    """Share of the rows `among` that are `what`; None of no rows."""
    return float(what[among].mean()) if among.any() else None
