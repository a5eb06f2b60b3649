"""Weak labels of held-out rows: what early stopping and a search choose by, without ground truth.

* A stage that labels training rows is copied to the validation pool (`on_pool`), with the stages whose labels it reads.
* A search compares the student's predictions on `strong_val` with the labels of its supervisor (`with_validation`). The labels are those
  that a rule of `select=` or a control has not changed: a filter that keeps only sure rows would raise the score, and not the student.
* The student is that of the method's first comparison; of a loop of comparisons, that of the last turn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline import kinds
from w2s_cli.pipeline.contract import NO_STAGE
from w2s_cli.pipeline.reads import Recorded

VALIDATION = "validation"  # the stage with a trial's score
POOL = "strong_val"  # held-out rows of the strong half

Fields = dict[str, Any]
Folders = Sequence[Path | str]


def with_validation(stages: dict[str, Fields], config: Recorded, folders: Folders) -> dict[str, Fields]:
    """The stages with the score of the student on validation rows, if the configuration is a trial of a search.

    Raises:
        UserError: the method has no student of labels.
    """
    if config["search"]["trials"] is None:
        return stages
    predictions = _student(stages, config, folders)
    labels = _supervision(_teaching(predictions, stages, folders) or "", stages, folders)
    added = dict(stages)
    compared = {
        field: on_pool(name, POOL, stages, added, folders)
        for field, name in (("student", predictions), ("labels", labels))
    }
    return {**added, VALIDATION: {"kind": "validate", **compared, kinds.ROWS: POOL}}


def _student(stages: Mapping[str, Fields], config: Recorded, folders: Folders) -> str:
    """The stage with the predictions of the method's student."""
    compared: dict[str, str] = {
        name: fields["student"] for name, fields in stages.items() if _compares_student(fields, folders)
    }
    taught = {name: stage for name, stage in compared.items() if _teaching(stage, stages, folders)}
    if not taught:
        raise UserError(
            f"a search scores a student by weak labels of validation rows, and method={config.plain['method']['name']} has no student that "
            "learns labels of classes: use another method, such as method=naive, or a sweep over a list, -m strong.lr=1e-5,1e-4."
        )
    loop = next(iter(taught)).partition("[")[0]
    return [stage for name, stage in taught.items() if name.partition("[")[0] == loop][-1]


def _compares_student(fields: Fields, folders: Folders) -> bool:
    return kinds.find(fields["kind"], folders).traits.over_seeds is not None and isinstance(fields.get("student"), str)


def _teaching(predictions: str, stages: Mapping[str, Fields], folders: Folders) -> str | None:
    """The labels behind a student's predictions: those in its prompts, or those that its model learned from; None of ground truth."""
    fields = stages.get(predictions, {})
    if not fields or kinds.find(fields["kind"], folders).traits.gives != "labels":
        return None
    labels = fields.get("labels") or _model(fields, stages).get("labels")
    return labels if isinstance(labels, str) and labels != NO_STAGE else None


def _supervision(name: str, stages: Mapping[str, Fields], folders: Folders) -> str:
    """The labels of the supervisor at the beginning of the chain that ends in the labels `name`."""
    fields = stages.get(name)
    if fields is None:
        return name
    learned = _model(fields, stages).get("labels")  # the model is itself a student
    if isinstance(learned, str) and learned != NO_STAGE:
        return _supervision(learned, stages, folders)
    for edge in kinds.find(fields["kind"], folders).labels():
        value = fields.get(edge.name)
        if edge.about != kinds.ROWS or value in (None, NO_STAGE):
            continue
        for source in value if isinstance(value, list) else [value]:
            above = _supervision(source, stages, folders)
            if above != source or not isinstance(value, list):
                return above
    return name


def _model(fields: Fields, stages: Mapping[str, Fields]) -> Fields:
    """The fields of the stage that makes a stage's model; {} of a pretrained model."""
    model = fields.get("model")
    return stages.get(model, {}) if isinstance(model, str) else {}


def on_pool(name: str, pool: str, stages: Mapping[str, Fields], added: dict[str, Fields], folders: Folders) -> str:
    """The name of a copy of stage `name` that labels `pool` instead of its own rows; its input labels of these rows are copied too.

    A kind with the fields fit_rows and fit_labels fits a model to labels: the copy fits it to the rows and labels of the stage itself.
    """
    fields = stages.get(name)
    if fields is None or kinds.ROWS not in fields:
        raise UserError(f'validation: "{name}" is no stage that labels rows.{did_you_mean(name, stages)}')
    kind = kinds.find(fields["kind"], folders)
    moved = {**fields, kinds.ROWS: pool}
    if "fit_rows" in kind.fields:
        moved |= {"fit_rows": fields[kinds.ROWS], "fit_labels": fields["labels"]}
    for edge in kind.labels():
        labels = fields.get(edge.name)
        if labels is not None and labels != NO_STAGE and edge.about == kinds.ROWS:
            sources = labels if isinstance(labels, list) else [labels]
            copies = [on_pool(source, pool, stages, added, folders) for source in sources]
            moved[edge.name] = copies if isinstance(labels, list) else copies[0]
    added[f"{name}@{pool}"] = moved
    return f"{name}@{pool}"
