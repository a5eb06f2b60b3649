"""A method's YAML that differs from another in a few stages: `base: naive`, and the stages that it adds, changes or takes away.

* A stage of the same name takes over the fields of the base's stage and has its own over them; `stage: null` takes the stage away, and
  `field: null` a field.
* The base may have a base. References such as `${weak}` are resolved afterwards, in the run's own configuration.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean


def stages_of(method: Mapping[str, Any], folders: Sequence[Path], *, above: Sequence[str] = ()) -> dict[str, Any]:
    """All stages of a method; `folders` are searched for `method/<base>.yaml`, the first one wins.

    Raises:
        UserError: no such base, or methods that are each other's base.
    """
    name, base = str(method["name"]), method.get("base")
    stages = dict(method.get("stages") or {})
    if base is None:
        return stages
    if base in (*above, name):
        raise UserError(f"these methods are each other's base: {' → '.join([*above, name, str(base)])}.")
    from omegaconf import OmegaConf

    files = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("method/*.yaml"))}
    if base not in files:
        raise UserError(f'method "{name}": there is no method "{base}" to be its base.{did_you_mean(str(base), files)}')
    written: Any = OmegaConf.to_container(OmegaConf.load(files[base]), resolve=False)
    below = stages_of(written, folders, above=[*above, name])
    merged = {stage: {**fields, **(stages.get(stage) or {})} for stage, fields in below.items()}
    every = {**merged, **{stage: fields for stage, fields in stages.items() if stage not in below}}
    return {stage: fields for stage, fields in every.items() if stages.get(stage, fields) is not None}
