"""What each stage gets of the launcher: its processes, and the resources of its job; `launcher.resources` has the last word.

* A name of `launcher.resources` is "no_model" (a stage without a model: rules, arithmetic, tables), a kind, a role (weak, student, …) or a
  stage's name. Of several that fit a stage, the last of this list has the last word.
* `processes` and `fsdp` are of every launcher. The other fields are of the jobs of a batch system, and are refused with another launcher.
* A setting of a name that cannot have an effect on any of its stages is refused; a name that no stage of this run has is not, as long as
  it is a role or a kind: one file of settings serves many runs.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline.contract import Role
from w2s_cli.pipeline.graph import Stage
from w2s_cli.pipeline.kinds import kind_names
from w2s_cli.pipeline.packages import need_version

NO_MODEL = "no_model"
FIELDS = ("partition", "account", "minutes", "memory_gb", "cpus", "gpus")
FURTHER = "additional_parameters"
# the first with `set_force_sum_reduction_for_comms` (pytorch/pytorch#155915), without which gloo cannot sum gradients in parts
TORCH_OF_PARTS = (2, 8)


def resources(stage: Stage, launcher: Mapping[str, Any]) -> dict[str, Any]:
    """partition, account, minutes, memory_gb, cpus, gpus and additional_parameters of the stage's job."""
    merged = {field: launcher_value(stage, launcher, field)[1] for field in FIELDS}
    further = dict(launcher[FURTHER])
    for name in _names(stage):
        further |= launcher["resources"].get(name, {}).get(FURTHER) or {}
    if merged["gpus"]:  # a GPU for each process
        merged["gpus"] = max(merged["gpus"], processes_of(stage, launcher))
    return {**merged, FURTHER: further}


def processes_of(stage: Stage, launcher: Mapping[str, Any]) -> int:
    """The processes that share the stage: one without a model, or of a kind that processes cannot share."""
    return int(launcher_value(stage, launcher, "processes")[1]) if _shared(stage) else 1


def in_parts(stage: Stage, launcher: Mapping[str, Any]) -> bool:
    """Whether weights, gradients and optimizer state of the stage, a training, lie in parts on its processes."""
    asked = bool(launcher_value(stage, launcher, "fsdp")[1])
    return asked and stage.of.traits.trains and processes_of(stage, launcher) > 1


def launcher_value(stage: Stage, launcher: Mapping[str, Any], field: str) -> tuple[str, Any]:
    """(dotted name, value) of the setting that decides a field for the stage: of `launcher.resources`, else the launcher's own."""
    decides = (f"launcher.{field}", launcher[field])
    for name in _names(stage):
        own = launcher["resources"].get(name, {}).get(field)
        if own is not None:
            decides = (f"launcher.resources.{name}.{field}", own)
    return decides


def most_processes(launcher: Mapping[str, Any]) -> tuple[str, int]:
    """(dotted name, value) of the setting with the most processes of a stage, whatever stages there are."""
    settings = {"launcher.processes": int(launcher["processes"])}
    for name, own in launcher["resources"].items():
        if own.get("processes") is not None:
            settings[f"launcher.resources.{name}.processes"] = int(own["processes"])
    return max(settings.items(), key=lambda setting: setting[1])


def check(stages: Iterable[Stage], launcher: Mapping[str, Any], *, batch: bool) -> None:
    """Refuse what `launcher.resources`, and processes of a training, cannot be for the stages of this run.

    Args:
        batch: whether the launcher is a batch system.

    Raises:
        UserError: a name that is neither a stage's of this run nor a role, a kind or "no_model"; a setting without an effect; parts on one
            process, of quantised weights or moments, or with a torch that is too old.
    """
    stages = list(stages)
    _check_names(stages, launcher)
    for name, own in launcher["resources"].items():
        fields = [field for field in (*FIELDS, FURTHER) if own.get(field) not in (None, {})]
        if fields and not batch:
            raise UserError(
                f"launcher.resources.{name}.{fields[0]} is a setting of a job, and launcher={launcher['name']} has no jobs: use it with "
                "launcher=slurm, or leave it out."
            )
        _check_effect(name, own, [stage for stage in stages if name in _names(stage)])
    for stage in stages:
        _check_parts(stage, launcher)


def _check_names(stages: Iterable[Stage], launcher: Mapping[str, Any]) -> None:
    fitting = {NO_MODEL, *get_args(Role), *kind_names(), *(name for stage in stages for name in _names(stage))}
    for name in launcher["resources"]:
        if name not in fitting:
            raise UserError(
                f"launcher.resources.{name}: no stage of this run is called so.{did_you_mean(name, sorted(fitting))}"
            )


def _check_effect(name: str, own: Mapping[str, Any], stages: list[Stage]) -> None:
    """Refuse processes for stages that run in one, and parts for stages that train nothing."""
    alone = name == NO_MODEL or (bool(stages) and not any(map(_shared, stages)))
    if (own.get("processes") or 1) > 1 and alone:
        raise UserError(
            f"launcher.resources.{name}.processes has no effect: these stages run in one process, as stages without a model do, and kinds "
            "that processes cannot share."
        )
    if own.get("fsdp") and (alone or (stages and not any(stage.of.traits.trains for stage in stages))):
        raise UserError(
            f"launcher.resources.{name}.fsdp has no effect: it is of trainings, and these stages train nothing."
        )


def _check_parts(stage: Stage, launcher: Mapping[str, Any]) -> None:
    """Refuse weights in parts where they cannot lie so."""
    setting, asked = launcher_value(stage, launcher, "fsdp")
    if not asked or not stage.of.traits.trains:
        return
    if not in_parts(stage, launcher):
        if setting == "launcher.fsdp":
            return  # for all stages: this one has nothing to share out (launchers.check refuses it where no stage has)
        raise UserError(
            f"{setting}=true shares out the weights of a training on its processes, and there is one: set "
            f"{setting.removesuffix('fsdp')}processes=2 or more, or leave it out."
        )
    need_version("torch", TORCH_OF_PARTS, f"{setting}=true")
    params = stage.identity["params"]
    if params.get("mode") == "probe":
        return
    base = (params.get("lora") or {}).get("base")
    if base is not None:
        raise UserError(
            f'stage "{stage.name}": a base in {base} cannot lie in parts on the processes: use {setting}=false, with which each process '
            "has a whole one, or lora.base=plain."
        )
    if params.get("optimizer") == "adamw8bit":
        raise UserError(
            f'stage "{stage.name}": optimizer=adamw8bit has a scale for each 256 values of a weight, and {setting}=true cuts weights '
            "elsewhere, so the number of processes would change the result: use optimizer=adamw, whose moments lie in parts too, or "
            f"{setting}=false."
        )


def _shared(stage: Stage) -> bool:
    """Whether several processes can share the stage."""
    return stage.about.get("model") is not None and stage.of.traits.shared


def _names(stage: Stage) -> list[str]:
    """What a stage can be called in `launcher.resources`, from the widest name to the narrowest."""
    without = [NO_MODEL] if stage.about.get("model") is None else []
    role = [str(stage.about["role"])] if stage.about.get("role") else []
    return [*without, stage.kind, *role, stage.name]
