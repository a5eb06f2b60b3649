"""The trainings behind a comparison, for the record of its result: the updates of each role, and the accuracy of the student's labels.

The comparison itself reads predictions on test rows only; these figures come from the stages above it in the graph.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.results.shapes import Share, Steps
from w2s_cli.results.stages import read_stage
from w2s_cli.statistics import ROLES
from w2s_cli.statistics.doubts import has_diverged
from w2s_cli.store.shapes import fits
from w2s_cli.store.store import Store


def with_trainings(
    metrics: Mapping[str, Any], graph: Graph, store: Store, evaluations: Sequence[str]
) -> dict[str, Any]:
    """The metrics of a comparison with `updates` in each role's `per_seed`, with each role's `epochs` and whether it learned pairs of texts
    (`preference`), with `diverged` in `per_seed` if a training did (statistics.doubts), and with the student's `labels`.

    `updates` are the optimizer steps of the role's weights: 0 of a prompted model or a file, None if unknown. `epochs` are those that the
    training was set to; None without a training. `labels` has accuracy
    (against the ground truth of the rows that the student learned from; the mean over seeds) and per_seed; it is missing for a student
    of ground truth.

    Args:
        metrics: as the stage wrote them, in their shape (results.shapes).
        evaluations: keys of the evaluate stages, one per seed.
    """
    joined = dict(metrics)
    for role in ROLES:
        if role not in metrics:
            continue
        learners = [_learner(graph, graph.stages[key].inputs.get(role)) for key in evaluations]
        per_seed = {**metrics[role]["per_seed"], "updates": [_updates(stage, store) for stage in learners]}
        diverged = [_has_diverged(stage, store) for stage in learners]
        joined[role] = {
            **metrics[role],
            "per_seed": {**per_seed, "diverged": diverged} if any(diverged) else per_seed,
            "epochs": _epochs(learners),
            "preference": learners[0] is not None and "pairs" in learners[0].inputs,
        }
        if role == "student":
            right = [_accuracy_of_labels(stage, store) for stage in learners]
            joined[role] |= labels(right)
    return joined


def over_runs(metrics: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of several seeds with what `with_trainings` added to the metrics of each of them, `runs`."""
    joined = dict(metrics)
    for role in ROLES:
        blocks = [run.get(role, {}) for run in runs]
        if role not in metrics or not all("updates" in block.get("per_seed", {}) for block in blocks):
            continue
        updates = [steps for block in blocks for steps in block["per_seed"]["updates"]]
        joined[role] = {
            **metrics[role],
            "per_seed": {**metrics[role]["per_seed"], "updates": updates, **_diverged(blocks)},
            **{field: runs[0][role][field] for field in ("epochs", "preference") if field in runs[0][role]},
        }
        if role == "student":
            joined[role] |= labels([right for b in blocks for right in b.get("labels", {}).get("per_seed", [None])])
    return joined


def _diverged(blocks: Sequence[Mapping[str, Any]]) -> dict[str, list[bool]]:
    """{diverged: …} of several seeds; {} if no training of theirs did."""
    flags = [flag for b in blocks for flag in b["per_seed"].get("diverged", [False] * len(b["per_seed"]["updates"]))]
    return {"diverged": flags} if any(flags) else {}


def labels(right: Sequence[float | None]) -> dict[str, Any]:
    """{labels: {accuracy, per_seed}} of the seeds' accuracies; {} if one is unknown."""
    accuracies = [accuracy for accuracy in right if accuracy is not None]
    if not accuracies or len(accuracies) < len(right):
        return {}
    return {"labels": {"accuracy": fmean(accuracies), "per_seed": accuracies}}


def _learner(graph: Graph, key: Any) -> Stage | None:
    """The stage that learned to make the predictions `key`: itself or the next one above it, by its model, else by its labels."""
    while isinstance(key, str):
        stage = graph.stages[key]
        if stage.of.traits.learns or stage.of.traits.trains:
            return stage
        key = next((stage.inputs[edge] for edge in ("model", "labels", "texts") if edge in stage.inputs), None)
    return None


def _updates(stage: Stage | None, store: Store) -> int | None:
    """The optimizer steps of the stage's weights, up to the best evaluation if it was stopped early."""
    if stage is None or not stage.of.traits.trains:
        return 0
    metrics = read_stage(store, stage.key).metrics
    steps: int | None = metrics.get("best_step", metrics.get("steps"))
    return steps if fits(steps, Steps) else None


def _has_diverged(stage: Stage | None, store: Store) -> bool:
    """Whether the stage's loss grew above that of a model without the training."""
    if stage is None or not stage.of.traits.trains:
        return False
    metrics = read_stage(store, stage.key).metrics
    loss: Any = metrics.get("final_loss")
    first: Any = metrics.get("first_loss")
    rows = stage.inputs.get("rows")
    classes: Any = read_stage(store, rows).metrics.get("classes") if isinstance(rows, str) else None
    number = len(classes) if fits(classes, list) and len(classes) > 1 else None
    return fits(loss, float) and has_diverged(loss, number, first if fits(first, float) else None)


def _epochs(stages: Sequence[Stage | None]) -> float | None:
    """The epochs of the first seed's training: all seeds of a setting have the same."""
    first = stages[0]
    return first.identity["params"].get("epochs") if first is not None and first.of.traits.trains else None


def _accuracy_of_labels(stage: Stage | None, store: Store) -> float | None:
    """The accuracy of the labels that the stage learned from; None of ground truth."""
    key = stage.inputs.get("labels") if stage else None
    accuracy: float | None = read_stage(store, key).metrics.get("accuracy") if isinstance(key, str) else None
    return accuracy if fits(accuracy, Share) else None
