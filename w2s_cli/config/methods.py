"""Methods with a base: a YAML with `base: naive` has only the stages that it adds, changes or removes.

* A stage inherits the fields of the base's stage of the same name, and its own fields replace them. `stage: null` removes the stage,
  `field: null` a field.
* The command line changes all stages alike, those of the base included: `method.stages.student.rows=test` replaces one field, and what is
  beside it stays, at any depth. In place of a copy of a group (`tune: "${tune}"`) the stage then has fields of its own.
* A base can have a base. References such as `${weak}` are resolved afterwards, in the run's configuration.
* A stage's own fields of a group (`train: {mode: probe, lr: 1e-2}`) are checked and converted as those of the group are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.config.declared import class_of
from w2s_cli.config.references import WHOLE
from w2s_cli.config.words import CHANGES, STAGES
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import check_mapping
from w2s_cli.pipeline.contract import FIRST_TURN
from w2s_cli.values import fit_fields, shown


def with_stages(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The method of a composed configuration with all its stages: those of its bases too, and as the command line changes them.

    Raises:
        UserError: no such base, a circle of bases, or a change of a stage that the method does not have.
    """
    method = {**config["method"]}
    changes = method.pop(CHANGES.rpartition(".")[2], None) or {}
    stages, name = _stages_of(method, folders), str(method["name"])
    for stage, change in _stages(changes, name).items():
        if stage not in stages and "kind" not in (change or {}):
            raise UserError(f'method "{name}" has no stage "{stage}".{did_you_mean(stage, stages)}')
        stages[stage] = _changed(stages.get(stage), change, config, f"{STAGES}.{stage}")
    return {**method, "stages": {stage: fields for stage, fields in stages.items() if fields is not None}}


def _changed(value: Any, change: Any, config: Mapping[str, Any], where: str) -> Any:
    """A value of a method's YAML after a change of the command line."""
    if not isinstance(change, Mapping):
        return change
    if isinstance(value, str) and (reference := WHOLE.fullmatch(value)):
        _refuse_part(reference[1], config, change, where)
        return dict(change)
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"{where}={shown(value)}: has no fields; set the whole, {where}=VALUE.")
    fields = value or {}
    changed = {name: _changed(fields.get(name), item, config, f"{where}.{name}") for name, item in change.items()}
    return {**fields, **changed}


def _refuse_part(group: str, config: Mapping[str, Any], change: Mapping[str, Any], where: str) -> None:
    """Refuse (UserError) a part of a model, or of a loss or rule without its name, in place of the copy of a whole."""
    whole = config.get(group)
    if not isinstance(whole, Mapping) or "name" not in whole or ("args" in whole and "name" in change):
        return
    own = f", or name one for this stage, {where}.name=NAME" if "args" in whole else ""
    raise UserError(f"{where} is a copy of {group}: change {group}.*{own}.")


def _stages_of(method: Mapping[str, Any], folders: Sequence[Path], *, above: Sequence[str] = ()) -> dict[str, Any]:
    """All stages of a method; the base is `method/<base>.yaml` of the first of `folders` with such a file."""
    name, base = str(method["name"]), method.get("base")
    stages = _stages(method.get("stages") or {}, name)
    if base is None:
        return stages
    if not isinstance(base, str):
        raise UserError(f'method "{name}": base={shown(base)}: must be the name of a method.')
    if base in (*above, name):
        raise UserError(f"the bases of these methods form a circle: {' → '.join([*above, name, base])}.")
    from omegaconf import OmegaConf

    files = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("method/*.yaml"))}
    if base not in files:
        raise UserError(f'method "{name}": its base "{base}" is no method.{did_you_mean(base, files)}')
    check_mapping(files[base])
    written: Any = OmegaConf.to_container(OmegaConf.load(files[base]), resolve=False)
    base_stages = _stages_of(written, folders, above=[*above, name])
    merged = {stage: {**fields, **(stages.get(stage) or {})} for stage, fields in base_stages.items()}
    all_stages = {**merged, **{stage: fields for stage, fields in stages.items() if stage not in base_stages}}
    return {stage: fields for stage, fields in all_stages.items() if stages.get(stage, fields) is not None}


def _stages(written: Any, method: str) -> dict[str, Any]:
    """The stages of a method's YAML, each a mapping of its fields or null."""
    if not isinstance(written, Mapping):
        raise UserError(
            f'method "{method}": stages={shown(written)}: must be a mapping, NAME: {{kind: …}} for each stage.'
        )
    for stage, fields in written.items():
        if fields is not None and not isinstance(fields, Mapping):
            raise UserError(
                f'method "{method}", stage "{stage}": {shown(fields)} is no mapping of fields, {{kind: …, …}}.'
            )
    return dict(written)


def with_own_groups(stages: Mapping[str, Any], config: Mapping[str, Any], misfits: list[str]) -> dict[str, Any]:
    """The stages with their own fields of the configuration's groups converted to the types of these fields.

    Args:
        stages: name → fields, without references.
        config: the checked configuration; a copy of one of its groups is left as it is.
        misfits: receives a message for every unknown field and every value that does not fit.
    """
    return {
        stage: _of_groups(fields, config, f"method.stages.{stage}", misfits) if isinstance(fields, Mapping) else fields
        for stage, fields in stages.items()
    }


def _of_groups(fields: Mapping[str, Any], config: Mapping[str, Any], where: str, misfits: list[str]) -> dict[str, Any]:
    converted = dict(fields)
    for name, value in fields.items():
        if not isinstance(value, Mapping) or value == config.get(name):
            continue
        if name == FIRST_TURN:
            converted[name] = _of_groups(value, config, f"{where}.{name}", misfits)
        elif group := class_of(name):
            whole = fit_fields(value, group, f"{where}.{name}", misfits)
            converted[name] = {field: whole[field] for field in value if field in whole}
    return converted
