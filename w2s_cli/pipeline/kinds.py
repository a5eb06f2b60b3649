"""The stage kinds: what a method's YAML may say about each, and which version of its meaning is in force.

* One `Kind` per kind, named as the kind; `stages/<kind>.py` holds the function that runs it. Nothing here imports it, so that planning
  needs no torch.
* `version` is raised by hand when the same params would give another result. A new identity field gets an entry in `neutral`: the value
  that means "as before the field existed"; a param equal to it stays out of the key, so old artifacts keep their keys.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from w2s_cli.errors import UserError, did_you_mean

TRUTH = "truth"  # in place of a stage: the ground truth of the rows


@dataclass(frozen=True)
class Kind:
    """One stage kind as a method's YAML sees it."""

    version: int
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()  # those of the fields that name another stage
    list_edges: tuple[str, ...] = ()  # … that name several, in order
    neutral: Mapping[str, Any] = field(default_factory=dict)


rows = Kind(version=1, required=("pool",), neutral={"second": None})  # one pool of a data set: text, label, id
features = Kind(version=1, required=("model", "rows"))  # frozen trunk's last-token features of a pool
pretrain = Kind(version=1, required=("recipe",))  # a language model from scratch
generative = Kind(
    version=1, required=("model", "rows"), optional=("role",)
)  # a pretrained one, trained on a pool's texts
finetune = Kind(
    version=1,
    required=("role", "model", "rows"),
    optional=("labels", "loss", "member", "weights", "train", "validation_rows", "validation_labels"),
    edges=("labels", "weights", "validation_labels"),
    neutral={"sharpening": None, "head": None, "stopping": None},
)
label = Kind(version=1, required=("model", "rows"), edges=("model",))  # a classifier's probabilities for a pool
few_shot = Kind(  # a prompted model's probabilities for a pool
    version=1, required=("model", "rows", "examples"), optional=("labels", "role"), edges=("labels",)
)
import_labels = Kind(version=1, required=("path", "rows"))  # labels from a file, keyed by row id
combine = Kind(  # the labels of several supervisors as one
    version=1,
    required=("labels", "rows", "rule"),
    optional=("scores", "student"),
    edges=("student",),
    list_edges=("labels", "scores"),
)
select = Kind(
    version=1, required=("labels", "rows", "rule"), optional=("model",), edges=("labels",)
)  # labels filtered, changed
boost = Kind(
    version=1, required=("labels", "rows"), optional=("weights",), edges=("labels", "weights")
)  # AdaBoost's row weights
evaluate = Kind(
    version=2, required=("rows",), optional=("weak", "student", "ceiling"), edges=("weak", "student", "ceiling")
)
summary = Kind(version=2, required=("runs",), list_edges=("runs",))  # several seeds of one evaluate stage
theory = Kind(
    version=1, required=("setting",), optional=("representation", "tasks", "rows", "dims")
)  # a synthetic experiment


def kind_names() -> list[str]:
    """Every kind there is."""
    return [name for name, value in vars(sys.modules[__name__]).items() if isinstance(value, Kind)]


def find(kind: Any, stage: str) -> Kind:
    """The kind that stage `stage` names; UserError for an unknown one."""
    found = getattr(sys.modules[__name__], str(kind), None)
    if not isinstance(found, Kind):
        raise UserError(f'stage "{stage}": unknown kind "{kind}".{did_you_mean(str(kind), kind_names())}')
    return found


def check_fields(stage: str, kind_name: str, fields: Mapping[str, Any]) -> None:
    """Refuse unknown and missing fields of a stage in a method's YAML."""
    kind = find(kind_name, stage)
    known = (*kind.required, *kind.optional)
    for name in fields:
        if name not in known:
            raise UserError(f'stage "{stage}" ({kind_name}): unknown field "{name}".{did_you_mean(name, known)}')
    for name in kind.required:
        if fields.get(name) is None:
            raise UserError(f'stage "{stage}" ({kind_name}): the field "{name}" is missing.')
    for name in kind.edges:
        if not isinstance(fields.get(name, ""), str):
            raise UserError(f'stage "{stage}" ({kind_name}): "{name}" must be the name of another stage.')
    for name in kind.list_edges:
        given = fields.get(name, [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise UserError(f'stage "{stage}" ({kind_name}): "{name}" must be a list of stages, for example loop[*].')


def identity_params(kind_name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """`params` without those that still have their neutral value."""
    neutral = find(kind_name, kind_name).neutral
    return {name: value for name, value in params.items() if name not in neutral or value != neutral[name]}
