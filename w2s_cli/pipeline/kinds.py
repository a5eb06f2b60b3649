"""Stage kinds by name: `stages/<kind>.py` of the package or of a --config-dir folder (see pipeline.contract).

* No list of kinds is kept. A file of the folder is a kind, unless its name begins with an underscore.
* The signature of a kind's `plan` lists its fields in a method's YAML. It is read here, once, for every check.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from w2s_cli.errors import UserError, did_you_mean, of_user_code
from w2s_cli.paths import PACKAGE
from w2s_cli.pipeline.contract import Edge, Labels, Model, Pool, RuleFields, Spec, Traits
from w2s_cli.plugins import code_names, find_code, load_code
from w2s_cli.values import shown

PARTS = ("VERSION", "TRAITS", "plan", "run")
ROWS = "rows"  # the field with the rows of labels, unless their annotation names another field


@dataclass(frozen=True)
class Field:
    """One field of a kind in a method's YAML."""

    name: str
    type: type | None  # Model, Pool, Labels or Edge; None: a plain value
    several: bool  # a list of stages
    required: bool
    values: Any = (
        Any  # of a plain value: its type, checked and converted as a field of the configuration is (w2s_cli/values.py)
    )
    about: Any = ROWS  # of labels: the field with their rows; of a loss or rule: RuleFields


@dataclass(frozen=True)
class Kind:
    """A stage kind: the parts of its file."""

    name: str
    path: Path
    version: int
    neutral: Mapping[str, Any]
    traits: Traits
    plan: Callable[..., Spec]
    run: Callable[..., dict[str, Any]]
    module: Any
    fields: Mapping[str, Field]

    def planned(self, job: Any, **values: Any) -> Spec:
        """The result of `plan` for one stage; an error in a user's own file becomes a UserError with the line."""
        try:
            return self.plan(job, **values)
        except UserError as error:
            if self.path.is_relative_to(PACKAGE):
                raise
            raise UserError(f'stage "{job.stage}" ({self.name}): {error}') from error
        except Exception as error:
            if self.path.is_relative_to(PACKAGE):
                raise
            raise of_user_code(f"plan of {self.path}", error) from error

    def optional(self, part: str) -> Callable[..., Any] | None:
        """An optional function of the kind (`cost`, `flops_per_token`, `cautions`); None if the kind lacks it."""
        function: Callable[..., Any] | None = getattr(self.module, part, None)
        return function

    def identity_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`params` without params at their neutral value."""
        return {
            name: value for name, value in params.items() if name not in self.neutral or value != self.neutral[name]
        }

    def labels(self) -> list[Field]:
        """The fields of type Labels."""
        return [field for field in self.fields.values() if field.type is Labels]


def find(name: Any, folders: Sequence[Path | str] = (), *, stage: str | None = None) -> Kind:
    """The kind `name`; `stage` is the stage of this kind, for messages.

    Raises:
        UserError: no such kind, or its file lacks a part.
    """
    kind = str(name)
    try:
        path = _file(kind, tuple(folders))
    except UserError:
        if stage is None:
            raise
        raise UserError(f'stage "{stage}": unknown kind "{kind}".{did_you_mean(kind, kind_names(folders))}') from None
    return _load(path, kind)


def kind_names(folders: Sequence[Path | str] = ()) -> list[str]:
    """The names of all kinds, of the package and of `folders`."""
    return code_names("stages", folders)


@cache  # a sweep asks for the same files thousands of times
def _file(kind: str, folders: tuple[Path | str, ...]) -> Path:
    return find_code("stages", kind, folders)


@cache
def _load(path: Path, name: str) -> Kind:
    if path.is_relative_to(PACKAGE):
        module = importlib.import_module(f"w2s_cli.stages.{name}")
    else:
        module, _ = load_code("stages", name, [path.parents[1]])
    for part in PARTS:
        if not hasattr(module, part):
            raise UserError(f"{path} has no {part}: a stage kind needs {', '.join(PARTS)} (docs/architecture.md).")
    try:
        fields = _fields(module.plan)
    except Exception as error:  # a user's annotations can raise anything
        raise of_user_code(f"the signature of plan in {path}", error) from error
    neutral = getattr(module, "NEUTRAL", {})
    return Kind(name, path, module.VERSION, neutral, module.TRAITS, module.plan, module.run, module, fields)


def _fields(plan: Callable[..., Spec]) -> dict[str, Field]:
    """The keyword arguments of `plan` as fields."""
    parameters = inspect.signature(plan).parameters.values()
    fields = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    annotated = SimpleNamespace(__annotations__={p.name: p.annotation for p in fields})
    hints = get_type_hints(annotated, plan.__globals__, include_extras=True)  # an annotation can be a string
    return {p.name: _field(p.name, hints[p.name], p.default is inspect.Parameter.empty) for p in fields}


def _field(name: str, hint: Any, required: bool) -> Field:
    values = hint
    if get_origin(hint) in (Union, UnionType):  # `Edge | None`
        [hint] = [arm for arm in get_args(hint) if arm is not type(None)][:1]
    about = ROWS
    if get_origin(hint) is Annotated:
        hint, about = get_args(hint)[:2]
    several = get_origin(hint) is list
    inner = get_args(hint)[0] if several else hint
    stage = inner if inner in (Model, Pool, Labels, Edge) else None
    return Field(name, stage, several and stage is not None, required, values, about)


def check_fields(stage: str, kind: Kind, values: Mapping[str, Any]) -> None:
    """Refuse unknown and missing fields of a stage in a method's YAML, and values that are no stage names where the kind needs them."""
    where = f'stage "{stage}" ({kind.name})'
    for name in values:
        if name not in kind.fields:
            raise UserError(f'{where}: unknown field "{name}".{did_you_mean(name, kind.fields)}')
    for field in kind.fields.values():
        value = values.get(field.name)
        if value is None:
            if field.required:
                raise UserError(f'{where}: the field "{field.name}" is missing.')
        elif field.type is Model and not isinstance(value, str | Mapping):
            raise UserError(
                f'{where}: {field.name}={shown(value)}: must be the name of a stage, or a model, "${{strong}}".'
            )
        elif isinstance(field.about, RuleFields):
            _check_rule(where, field.name, field.about, value)
        elif field.type in (Pool, Labels, Edge):
            if field.several and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
                raise UserError(f'{where}: "{field.name}" must be a list of stages, for example loop[*].')
            if not field.several and not isinstance(value, str):
                raise UserError(f'{where}: "{field.name}" must be the name of another stage.')


def _check_rule(where: str, field: str, note: RuleFields, value: Any) -> None:
    """Refuse a loss or rule without a name, or with other parts than it can have."""
    parts = set(value) if isinstance(value, Mapping) else set()
    if "name" not in parts:
        raise UserError(f"{where}: {field}={shown(value)} names no {field}: write {{name: NAME, args: {{…}}}}.")
    for part in sorted(parts - set(note.known()), key=str):
        raise UserError(f'{where}: {field} has no "{part}".{did_you_mean(str(part), note.known())}')
