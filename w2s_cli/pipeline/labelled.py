"""Stages that are arithmetic on labels: what determines their results, taken from the configuration. One function per kind."""

from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError
from w2s_cli.pipeline.causal import need_causal
from w2s_cli.pipeline.resolve import flag

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Builder


def import_labels(b: "Builder", name: str, *, path: str, rows: str) -> str:
    """Labels from a file."""
    sha256, absolute = b.resolver.file(path, "labels")
    inputs = {"rows": b.pool(rows, asked_by=name)}
    slug = f"{b.config['data']['name']}-{rows}"
    about = {"labels": path, "rows": rows}
    return b.graph.add(name, "import_labels", {"sha256": sha256}, inputs, slug, {"labels_path": absolute}, about)


def combine(
    b: "Builder",
    name: str,
    *,
    labels: list[str],
    rows: str,
    rule: dict[str, Any],
    scores: list[str] | None = None,
    student: str | None = None,
) -> str:
    """Several supervisors' labels as one; `scores` says how far to trust each, `student` guides a co-supervised rule."""
    _check_combination(b, rule["name"], len(labels), scores, student)
    inputs: dict[str, Any] = {"rows": b.pool(rows, asked_by=name), "labels": b.stages(labels, asked_by=name)}
    if scores:
        inputs["scores"] = b.stages(scores, asked_by=name)
    if student:
        inputs["student"] = b.stage(student, asked_by=name)
    params = {
        "rule": b.resolver.rule("combining", rule),
        "abstain_below": rule.get("abstain_below", 0.0),
        "prior": rule.get("prior"),
    }
    about = {
        "rule": rule.get("label") or rule["name"],
        "rows": rows,
        "supervisors": len(labels),
        "seed": b.config["seed"],
    }
    slug = f"{rule['name']}-{len(labels)}-{b.config['data']['name']}-{rows}-s{b.config['seed']}"
    execution = {"combine_folders": [str(f) for f in b.resolver.folders]}
    return b.graph.add(name, "combine", params, inputs, slug, execution, about)


def _check_combination(b: "Builder", rule: str, labels: int, scores: list[str] | None, student: str | None) -> None:
    """Refuse before anything runs what the rule would refuse after the supervisors are trained."""
    path, method = b.resolver.code("combining", rule), b.config["method"]["name"]
    if flag(path, "NEEDS_SCORES") and not scores:
        raise UserError(
            f"combine={rule} must know how good the supervisors are, and method={method} does not measure it: "
            "use method=weighted_ensemble or method=ensemw2s."
        )
    if flag(path, "NEEDS_STUDENT") and not student:
        raise UserError(
            f"combine={rule} asks a student, and method={method} has none at that point: use method=co_supervised."
        )
    if flag(path, "NEEDS_THREE") and labels < 3:
        raise UserError(f"combine={rule} needs at least 3 supervisors, and there are {labels}: ensemble=3 or more.")


def select(b: "Builder", name: str, *, labels: str, rows: str, rule: dict[str, Any], model: Any = None) -> str:
    """Labels filtered or changed by a rule; `model` gives the frozen features, if the rule looks at any."""
    inputs = {"rows": b.pool(rows, asked_by=name), "labels": b.stage(labels, asked_by=name)}
    if flag(b.resolver.code("selection", rule["name"]), "NEEDS_FEATURES"):
        if model is None:
            raise UserError(
                f"the rule {rule['name']} looks at a model's features, which method={b.config['method']['name']} does not give it: "
                "use method=selection, or a rule of the supervisor's confidence."
            )
        settings = b.model_settings(name, "select", model, b.config["train"])
        why, instead = "reads the last token's state", "use a rule of the supervisor's confidence"
        need_causal(b, name, "student", settings, why, instead, probed=True)
        inputs["features"] = b.features(name, settings, rows)
    params = {"rule": b.resolver.rule("selection", rule), "seed": b.config["seed"]}
    about = {"rule": rule.get("label") or rule["name"], "rows": rows, "labels": labels, "seed": b.config["seed"]}
    slug = f"{rule['name']}-{b.config['data']['name']}-{rows}-s{b.config['seed']}"
    execution = {"select_folders": [str(f) for f in b.resolver.folders]}
    return b.graph.add(name, "select", params, inputs, slug, execution, about)


def boost(b: "Builder", name: str, *, labels: str, rows: str, weights: str | None = None) -> str:
    """Row weights for the next weak supervisor, and this one's own weight (AdaBoost)."""
    inputs = {"rows": b.pool(rows, asked_by=name), "labels": b.stage(labels, asked_by=name)}
    if weights:
        inputs["weights"] = b.stage(weights, asked_by=name)
    slug = f"{b.config['data']['name']}-{rows}-s{b.config['seed']}"
    return b.graph.add(name, "boost", {}, inputs, slug, {}, {"rows": rows, "seed": b.config["seed"]})


def theory(b: "Builder", name: str, **params: Any) -> str:
    """A synthetic experiment; it needs no data set and no pretrained model."""
    return b.graph.add(name, "theory", {**params, "seed": b.config["seed"]}, {}, name, {}, {"seed": b.config["seed"]})


def evaluate(b: "Builder", name: str, *, rows: str, **models: str) -> str:
    """The roles' predictions against each other and the truth."""
    inputs = {role: b.stage(stage, asked_by=name) for role, stage in models.items() if stage}
    inputs["rows"] = b.pool(rows, asked_by=name)
    params = {"bootstrap": b.config["bootstrap"], "confidence": b.config["confidence"]}
    slug = f"{b.config['weak']['name']}-{b.config['strong']['name']}-{b.config['data']['name']}-s{b.config['seed']}"
    return b.graph.add(name, "evaluate", params, inputs, slug, {}, {"rows": rows, "seed": b.config["seed"]})
