"""combine: the labels of several supervisors become one, by a rule of w2s_cli.combining; arithmetic on files, no torch.

* Labels are joined by row id. A supervisor with labels of other rows is refused.
* A supervisor abstains where its labels say covered=false, and where its largest probability is below `abstain_below`.
* The result is a labels artifact with every row of the pool once. It always has a `covered` column, and the rule decides which rows
  are covered.
* Ground truth is read only for the metrics (accuracy of each supervisor and of the rule). Rules never see it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Edge, Labels, Pool, RuleFields, Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="labels")
ROUNDING = 1e-6  # labels are float32: 0.9 is read as 0.89999998


def plan(
    job: "Planning",
    *,
    rows: Pool,
    labels: list[Labels],
    rule: Annotated[Mapping[str, Any], RuleFields(("abstain_below", "prior"))],
    scores: list[Edge] | None = None,
    student: Labels | None = None,
) -> Spec:
    """The labels of several supervisors as one artifact.

    Args:
        rule: {name, args, label, abstain_below, prior} of a file in combining/.
        scores: stages with a measure of each supervisor's quality, in the order of `labels`.
        student: labels of the current student, for a co-supervised rule.
    """
    _check(job, rule["name"], len(labels), scores, student)
    _check_prior(rule.get("prior"), job.config["data"]["classes"])
    name, data, seed = rule["name"], job.config["data"]["name"], job.config["seed"]
    params = {
        "rule": job.rule("combining", rule),
        "abstain_below": rule.get("abstain_below", 0.0),
        "prior": rule.get("prior"),
    }
    return Spec(
        params,
        {"rows": rows, "labels": list(labels), "scores": list(scores) if scores else None, "student": student},
        slug=f"{name}-{len(labels)}-{data}-{rows.name}-s{seed}",
        about={"rows": rows.name, "rule": rule.get("label") or name, "seed": seed},
        words=[f"{rule.get('label') or name} of {len(labels)} supervisors"],
    )


def _check(job: "Planning", rule: str, labels: int, scores: list[Edge] | None, student: Labels | None) -> None:
    """Refuse while planning what the rule would refuse only after the training of the supervisors."""
    method = job.config["method"]["name"]
    if job.says("combining", rule, "NEEDS_SCORES") and not scores:
        raise UserError(
            f"combine={rule} needs a measure of each supervisor's quality, which method={method} does not have: "
            "use method=weighted_ensemble or method=ensemw2s."
        )
    if job.says("combining", rule, "NEEDS_STUDENT") and not student:
        raise UserError(
            f"combine={rule} needs the labels of a student, which method={method} does not have: use method=co_supervised."
        )
    if job.says("combining", rule, "NEEDS_THREE") and labels < 3:
        raise UserError(
            f"combine={rule} needs at least 3 supervisors, and this method has {labels}: set ensemble=3 or more."
        )


def _check_prior(prior: Sequence[float] | None, classes: Sequence[str] | None) -> None:
    """Refuse a class balance that is none, or has another number of classes than the configuration lists."""
    if prior is not None and (abs(sum(prior) - 1) > ROUNDING or (classes and len(prior) != len(classes))):
        number = f"{len(classes)} " if classes else ""
        raise UserError(f"combine.prior={list(prior)} must be {number}shares of the classes that add up to 1.")


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id; p, logits: list<float32>[classes]; covered) in the order of the rows.

    Args:
        params: rule (name, args), abstain_below (0: no supervisor abstains), prior (class balance, or null: the rule estimates it).
        inputs: rows; labels (one folder per supervisor); scores (optional, one folder per supervisor, whose manifest has
            the metric `weight` of a boosting round or `accuracy`); student (optional, labels of the current student).

    Returns:
        rows, accuracy (on covered rows), mean_p, coverage, agreement (of two supervisors, on rows with labels of both),
        agreements [supervisors, supervisors], supervisors (accuracy, coverage, estimated_accuracy, weight of each), and
        the rule's diagnostics.

    Raises:
        UserError: labels with other row ids, labels that are no probabilities, an unknown rule or argument, or no label left.
    """
    import numpy as np

    from w2s_cli.combining import Combined, Votes, load_rule
    from w2s_cli.combining._votes import adding_up, class_balance, figures, log_odds
    from w2s_cli.data.artifacts.labels import Labels as Labelled
    from w2s_cli.data.artifacts.labels import check_classes, read_labels, write_labels
    from w2s_cli.data.artifacts.rows import read_rows
    from w2s_cli.stages._rules import apply_rule

    fault("combine.start")
    rule = load_rule(params["rule"]["name"], ctx.execution.get("folders", ()), params["rule"].get("code"))
    folders = _folders(inputs["labels"])
    if not folders:
        raise UserError(f"{inputs['rows']}: the stage has no labels to combine; name at least one stage of labels")
    rows = read_rows(cast(Path, inputs["rows"]), texts=False)
    supervisors: list[Labelled] = []
    for step, folder in enumerate(folders, start=1):
        supervisors.append(read_labels(folder, rows.ids))
        ctx.progress(step, len(folders), examples=step * len(rows.ids))
        fault("combine.step")
    labels_by_name = {f"labels {i}": labels for i, labels in enumerate(supervisors, start=1)}
    folders_by_name = {f"labels {i}": folder for i, folder in enumerate(folders, start=1)}
    if inputs.get("student"):
        folders_by_name["student"] = cast(Path, inputs["student"])
        labels_by_name["student"] = read_labels(folders_by_name["student"], rows.ids)
    check_classes(rows.labels, labels_by_name, folders_by_name)
    p = np.stack([adding_up(labels.p) for labels in supervisors])  # [supervisors, rows, classes]
    below = float(params.get("abstain_below") or 0.0)
    if not 0 <= below < 1:
        raise UserError(f"combine.abstain_below={below} must be at least 0 and below 1")
    votes = Votes(
        p,
        np.stack([labels.has_label for labels in supervisors]) & (p.max(axis=2) >= below - ROUNDING),
        log_odds(_folders(inputs.get("scores") or []), len(folders), p.shape[2]),
        adding_up(labels_by_name["student"].p) if "student" in labels_by_name else None,
        class_balance(params.get("prior"), p.shape[2]),
    )
    called, args = f"combine={params['rule']['name']}", params["rule"].get("args") or {}
    advice = "lower abstain_below, or let the rule drop fewer"
    combined = Combined(*apply_rule(rule, votes, args, called=called, every_row=True, advice=advice))
    write_labels(ctx.result, rows.ids, combined.p, covered=combined.covered)
    return figures(votes, combined, rows.labels)


def _folders(stages: Path | list[Path]) -> list[Path]:
    return [stages] if isinstance(stages, Path) else list(stages)
