"""The resources of a stage's job: the launcher's own, and over them `launcher.resources` by what the stage is.

A name of `launcher.resources` is "no_model" (a stage without a model: rules, arithmetic, tables), a kind, a role (weak, student, …) or a
stage's name. Of several that fit a stage, the last of this list has the last word.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline.contract import Role
from w2s_cli.pipeline.graph import Stage
from w2s_cli.pipeline.kinds import kind_names
from w2s_cli.run.preparing import processes_of

NO_MODEL = "no_model"
FIELDS = ("partition", "account", "minutes", "memory_gb", "cpus", "gpus")


def resources(stage: Stage, launcher: Mapping[str, Any]) -> dict[str, Any]:
    """partition, account, minutes, memory_gb, cpus, gpus and additional_parameters of the stage's job."""
    merged = {name: launcher[name] for name in FIELDS}
    further = dict(launcher["additional_parameters"])
    for name in _names(stage):
        own = launcher["resources"].get(name, {})
        merged |= {field: own[field] for field in FIELDS if own.get(field) is not None}
        further |= own.get("additional_parameters") or {}
    if merged["gpus"]:  # a GPU for each process
        merged["gpus"] = max(merged["gpus"], processes_of(stage, launcher))
    return {**merged, "additional_parameters": further}


def check_names(stages: Iterable[Stage], launcher: Mapping[str, Any]) -> None:
    """Refuse (UserError) a name of `launcher.resources` that is neither a stage's of this run nor a role, a kind or "no_model"."""
    fitting = {NO_MODEL, *get_args(Role), *kind_names(), *(name for stage in stages for name in _names(stage))}
    for name in launcher["resources"]:
        if name not in fitting:
            raise UserError(
                f"launcher.resources.{name}: no stage of this run is called so.{did_you_mean(name, sorted(fitting))}"
            )


def _names(stage: Stage) -> list[str]:
    """What a stage can be called in `launcher.resources`, from the widest name to the narrowest."""
    without = [NO_MODEL] if stage.about.get("model") is None else []
    role = [str(stage.about["role"])] if stage.about.get("role") else []
    return [*without, stage.kind, *role, stage.name]
