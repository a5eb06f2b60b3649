"""select: one labels artifact becomes another by a rule of w2s_cli.selection: filters, relabelling, true labels, controls.

* Labels and features are joined by row id. The rule gets the rows in an order drawn by hash (see w2s_cli.selection); the result is in
  the pool's order. A row with unchanged probabilities keeps its logits too.
* The result has every row of the pool once, with a `covered` column: false for a row without a label.
* Ground truth is read for the metrics. A rule gets it only if its file has NEEDS_TRUTH, and then the metrics have uses_truth: such
  labels are a control or a bound, no weak supervision.
* With `fit_rows` a rule with features judges its rows, such as validation rows, by the labels and features of other, training rows. A
  probe of a thousand features that is fitted to a few hundred validation rows agrees with their labels, whatever they are.
* A pair's features are the features of the second text minus the features of the first, like its difference of rewards.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import TRUTH, Edge, Labels, Model, Pool, RuleField, Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from w2s_cli.data.artifacts.labels import Labels as StoredLabels
    from w2s_cli.data.artifacts.rows import Rows
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.selection import Labels as RuleLabels
    from w2s_cli.selection import Rule
    from w2s_cli.statistics.figures import Booleans, Integers

    Features = NDArray[np.float32] | None

VERSION = 1
TRAITS = Traits(gives="labels")


def plan(
    job: "Planning",
    *,
    rows: Pool,
    labels: Labels,
    rule: RuleField,
    model: Model | None = None,
    fit_rows: Pool | None = None,
    fit_labels: Annotated[Labels, "fit_rows"] | None = None,
) -> Spec:
    """Labels filtered or changed by a rule of selection/.

    Args:
        model: gives frozen features to a rule that needs them.
        fit_rows, fit_labels: the rows and labels that such a rule is fitted to; None: its own rows. Early stopping sets them.
    """
    name, data, seed = rule["name"], job.config["data"]["name"], job.config["seed"]
    if (fit_rows is None) != (fit_labels in (None, TRUTH)):
        raise UserError(
            f'stage "{job.stage}" (select): fit_rows needs fit_labels, a stage with labels of these rows, and vice versa.'
        )
    fit: dict[str, Edge | None] = {}
    features = None
    if job.says("selection", name, "NEEDS_FEATURES"):
        if model is None:
            raise UserError(
                f"the rule {name} needs a model's features, which method={job.config['method']['name']} does not have: "
                "use method=selection, or a rule of the supervisor's confidence."
            )
        settings = model.settings("select")
        why, instead = "reads the last token's state", "use a rule of the supervisor's confidence"
        job.need_causal(settings, "student", why, instead, probed=True)
        features = job.features(settings, rows)
        if fit_rows is not None:
            fit = {"fit_rows": fit_rows, "fit_labels": fit_labels, "fit_features": job.features(settings, fit_rows)}
    rule_name = rule.get("label") or name
    return Spec(
        {"rule": job.rule("selection", rule), "seed": seed},
        {"rows": rows, "labels": labels, "features": features, **fit},
        slug=f"{name}-{data}-{rows.name}-s{seed}",
        about={"rows": rows.name, "rule": rule_name, "seed": seed},
        words=[f"{rule_name} of {labels.name}" + (f", fitted to {fit_rows.name}" if fit_rows and fit else "")],
    )


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """A caution if the rule uses ground truth."""
    if not metrics.get("uses_truth"):
        return []
    return [
        f"The rule {about['rule']} uses the ground truth of the student's rows: a control or a budget, no supervision."
    ]


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id; p, logits: list<float32>[classes]; covered) in the order of the rows.

    Args:
        params: rule (name, args, code), seed.
        inputs: rows, labels, and features (of the same rows) if the rule needs them; fit_rows, fit_labels and fit_features for a rule that
            is fitted to other rows.

    Returns:
        rows, coverage, accuracy and mean_p (over covered rows); accuracy_before (over the rows covered before), coverage_before;
        kept_right, kept_wrong, dropped_right, dropped_wrong (rows, by their labels before the rule); corrected, spoiled (rows covered
        before and after whose label became right, or wrong); uses_truth; diagnostics of the rule.

    Raises:
        UserError: labels with other row ids, labels that are no probabilities, an unknown rule or argument, or no label left.
    """
    import numpy as np

    from w2s_cli.data.artifacts.labels import write_labels
    from w2s_cli.selection import Selected, load_rule
    from w2s_cli.stages._rules import apply_rule
    from w2s_cli.statistics.figures import as_json, log_p, predicted

    fault("select.start")
    rule = load_rule(params["rule"]["name"], ctx.execution.get("folders", ()), params["rule"].get("code"))
    rows, before, features = _read(inputs, "", rule, params["rule"]["name"])
    ids, truth, p, covered = rows.ids, rows.labels, before.p, before.has_label
    fit = None
    if "fit_rows" in inputs:
        fit, _ = _shuffled(*_read(inputs, "fit_", rule, params["rule"]["name"]), rule, params["seed"])
    fault("select.step")

    labels, order = _shuffled(rows, before, features, rule, params["seed"], fit)
    called, args = f"rule {params['rule']['name']}", params["rule"].get("args") or {}
    advice = f"change its arguments {args} so that it keeps more rows"
    selected = Selected(*apply_rule(rule.function, labels, args, called=called, every_row=False, advice=advice))
    pool_order = np.argsort(order)
    new_p, new_covered = selected.p[pool_order], selected.covered[pool_order]
    unchanged = (new_p.astype(np.float32) == p.astype(np.float32)).all(axis=1)
    new_logits = np.where(unchanged[:, None], before.logits, log_p(new_p))
    write_labels(ctx.result, ids, new_p, new_logits, new_covered)
    ctx.progress(len(ids), len(ids), examples=len(ids))
    changes = _changes(predicted(p) == truth, covered, predicted(new_p) == truth, new_covered)
    metrics: dict[str, Any] = as_json(
        {
            "rows": len(ids),
            "coverage": new_covered.mean(),
            "accuracy": (predicted(new_p) == truth)[new_covered].mean(),
            "coverage_before": covered.mean(),
            "accuracy_before": (predicted(p) == truth)[covered].mean() if covered.any() else None,
            "mean_p": new_p[new_covered].mean(axis=0),
            **changes,
            "uses_truth": rule.needs_truth,
            "diagnostics": selected.diagnostics,
        }
    )
    return metrics


def _read(
    inputs: Mapping[str, Path | list[Path]], prefix: str, rule: "Rule", name: str
) -> tuple["Rows", "StoredLabels", "Features"]:
    """Rows, labels, and features [rows, width] fp32 (None for a rule without) of the inputs whose edges begin with `prefix`."""
    import numpy as np

    from w2s_cli.data.artifacts.features import read_features
    from w2s_cli.data.artifacts.labels import check_classes, read_labels
    from w2s_cli.data.artifacts.rows import read_rows

    folders = cast(Mapping[str, Path], inputs)
    rows = read_rows(folders[f"{prefix}rows"], texts=False)
    labels = read_labels(folders[f"{prefix}labels"], rows.ids)
    check_classes(rows.labels, {"labels": labels}, {"labels": folders[f"{prefix}labels"]})
    if not rule.needs_features:
        return rows, labels, None
    if f"{prefix}features" not in folders:
        raise UserError(f"select={name} needs features of the rows; name their model in the stage's field `model`")
    features = read_features(folders[f"{prefix}features"], rows.ids).astype(np.float32)
    return rows, labels, features[:, 1] - features[:, 0] if features.ndim == 3 else features


def _shuffled(
    rows: "Rows",
    labels: "StoredLabels",
    features: "Features",
    rule: "Rule",
    seed: int,
    fit: "RuleLabels | None" = None,
) -> tuple["RuleLabels", "Integers"]:
    """The labels as a rule reads them, in an order drawn by hash, and that order."""
    import numpy as np

    from w2s_cli.selection import Labels as RuleLabels
    from w2s_cli.statistics.draw import drawer

    ids, draw = rows.ids, drawer("selection", "order", seed)
    order = np.array(sorted(range(len(ids)), key=lambda row: (draw(ids[row]), ids[row])))
    shuffled = RuleLabels(
        [ids[row] for row in order],
        labels.p[order],
        labels.has_label[order],
        None if features is None else features[order],
        rows.labels[order] if rule.needs_truth else None,
        seed,
        fit,
    )
    return shuffled, order


def _changes(right: "Booleans", covered: "Booleans", now_right: "Booleans", now_covered: "Booleans") -> dict[str, int]:
    """Numbers of rows by the change of their label."""
    kept, dropped = covered & now_covered, covered & ~now_covered
    return {
        "kept_right": int((kept & right).sum()),
        "kept_wrong": int((kept & ~right).sum()),
        "dropped_right": int((dropped & right).sum()),
        "dropped_wrong": int((dropped & ~right).sum()),
        "corrected": int((kept & ~right & now_right).sum()),
        "spoiled": int((kept & right & ~now_right).sum()),
    }
