"""The expansion of a method's YAML: one plain dictionary per stage.

* Loops: `foreach: N` or `foreach: ladder` (a list of the configuration) makes `name[0]`, `name[1]`, …. In its fields `{item}` is the
  list's item, `{i}` the turn, `{prev}` the previous turn and `{member}` the number of earlier turns with the same item. `first:` has the
  fields of the first turn. `name[*]` means all turns, `name[last]` the last turn. The YAML has no other language.
* `labels=file` replaces the weak supervisor by a file; `control=` puts a stage before every student; `stopping=` gives trainings a
  validation pool, with weak labels made like those of the training pool, and a search gives the student a score (`validation.py`). The
  kinds' traits and fields determine the stages concerned.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline import kinds
from w2s_cli.pipeline.contract import FIRST_TURN, NO_STAGE
from w2s_cli.pipeline.kinds import Kind
from w2s_cli.pipeline.reads import Recorded, traced
from w2s_cli.pipeline.validation import on_pool, with_validation

Fields = dict[str, Any]
Folders = Sequence[Path | str]
LISTS = {
    "ladder": "ladder=[MODEL,…], the models between weak and strong, smallest first",
    "ensemble": "ensemble=K for K seeds of the weak model, or ensemble=[MODEL,…]",
    "rounds": "rounds=N",
}


def stages_of(config: Recorded, folders: Folders = ()) -> dict[str, Fields]:
    """Name → fields (with `kind`) of all stages of the configuration's method."""
    stages = written_out(config)
    for name, fields in stages.items():
        kinds.find(fields["kind"], folders, stage=name)
    stages = with_file_labels(stages, config, folders)
    stages = with_control(stages, config, folders)
    return with_validation(with_stopping(stages, config, folders), config, folders)


def written_out(config: Recorded) -> dict[str, Fields]:
    """The stages with loops unrolled and references to loops resolved."""
    method = config.plain["method"]
    turns: dict[str, int] = {}
    stages: dict[str, Fields] = {}
    for name, written in method["stages"].items():
        fields = {field: traced(value, config) for field, value in written.items()}
        if "kind" not in fields:
            raise UserError(f'stage "{name}" of method "{method["name"]}" has no kind.')
        over, first = fields.pop("foreach", None), fields.pop(FIRST_TURN, {})
        if over is None:
            stages[name] = fields
            continue
        items = _items(over, config, name)
        turns[name] = len(items)
        for i, item in enumerate(items):
            turn = {**fields, **(first if i == 0 else {})}
            stages[f"{name}[{i}]"] = {field: _of_turn(value, item, i, items) for field, value in turn.items()}
    return {
        name: {field: _of_loop(value, turns, name) for field, value in fields.items() if value is not None}
        for name, fields in stages.items()
    }


def _items(over: Any, config: Recorded, name: str) -> list[Any]:
    """The items of a loop: of a number, a list, or the name of a list of the configuration."""
    if isinstance(over, str):
        if over not in LISTS:
            raise UserError(
                f'stage "{name}": foreach: "{over}" is no list of the configuration.{did_you_mean(over, LISTS)}'
            )
        items = config[over]
        if over == "ensemble" and isinstance(items, int):
            items = [config["weak"]] * items
        if not items:
            raise UserError(f'method "{config["method"]["name"]}" needs {LISTS[over]}.')
        over = items
    return list(range(over)) if isinstance(over, int) else list(over)


def _of_turn(value: Any, item: Any, i: int, items: list[Any]) -> Any:
    """The value of a field in one turn of a loop."""
    if isinstance(value, list):
        return [_of_turn(entry, item, i, items) for entry in value]
    if not isinstance(value, str):
        return value
    whole = {"{item}": item, "{i}": i, "{prev}": i - 1, "{member}": items[:i].count(item)}
    if value in whole:
        return whole[value]
    return value.replace("{i}", str(i)).replace("{prev}", str(i - 1))


def _of_loop(value: Any, turns: Mapping[str, int], name: str) -> Any:
    """`loop[*]` → the list of its stages, `loop[last]` → the last stage, also inside a list."""
    if isinstance(value, list):
        turned = [(item, _of_loop(item, turns, name)) for item in value]
        return [stage for item, own in turned for stage in (_as_list(own) if isinstance(item, str) else [own])]
    reference = re.fullmatch(r"(\w+)\[(\*|last)\]", value) if isinstance(value, str) else None
    if not reference:
        return value
    loop, which = reference.groups()
    if loop not in turns:
        raise UserError(
            f'stage "{name}": "{value}", but "{loop}" is no loop of this method.{did_you_mean(loop, turns)}'
        )
    return f"{loop}[{turns[loop] - 1}]" if which == "last" else [f"{loop}[{i}]" for i in range(turns[loop])]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def with_file_labels(stages: dict[str, Fields], config: Recorded, folders: Folders) -> dict[str, Fields]:
    """The stages with labels from a file in place of the weak supervisor, if labels.source is a file."""
    if config.plain["labels"]["source"] == "weak":
        return stages
    labels, method = config["labels"], config["method"]["name"]
    if not labels["path"]:
        raise UserError("labels=file needs a file: set labels.path=FILE.")
    if not any(_gives(fields, "labels", folders) for fields in stages.values()):
        raise UserError(
            f'labels=file has the labels of classes that a weak classifier would give, and no stage of method "{method}" labels '
            "rows: leave it out, or use a method of classifiers, such as method=naive."
        )
    supervisors = {name for name, f in stages.items() if _gives(f, "model", folders) and f.get("role") == "weak"}
    if len(supervisors) != 1:
        raise UserError(
            f'labels=file takes the place of one weak supervisor, and method "{method}" has {len(supervisors)}.'
        )
    replaced, dropped = {}, set(supervisors)
    for name, fields in stages.items():
        if _gives(fields, "labels", folders) and fields.get("model") in supervisors:
            path = labels["test_path"] if fields["rows"] == "test" else labels["path"]
            if path:
                replaced[name] = {"kind": "import_labels", "path": path, "rows": fields["rows"]}
            else:
                dropped.add(name)
    for name, fields in stages.items():  # a student without its labels would learn from ground truth
        if name not in supervisors and fields.get("labels") in dropped:
            raise UserError(
                f'stage "{name}" learns from "{fields["labels"]}", which has no file: set labels.test_path=FILE.'
            )
    return {
        name: {f: v for f, v in fields.items() if not (isinstance(v, str) and v in dropped)}
        for name, fields in {**stages, **replaced}.items()
        if name not in dropped
    }


def with_control(stages: dict[str, Fields], config: Recorded, folders: Folders) -> dict[str, Fields]:
    """The stages with a control between every student and its labels."""
    students = [name for name, fields in stages.items() if is_student(fields, folders)]
    if not students or not config["control"]["rule"]:
        return stages
    controlled: dict[str, Fields] = {}
    for name, fields in stages.items():
        if name in students:
            control = config["control"]
            labels = f"{control['name']}:{fields['labels']}"
            pool = fields[_kind(fields, folders).fields["labels"].about]
            rule = {"name": control["rule"], "args": control["args"]}
            controlled[labels] = {
                "kind": "select",
                "labels": fields["labels"],
                "rows": pool,
                "rule": rule,
                "model": fields["model"],
            }
            fields = {**fields, "labels": labels}
        controlled[name] = fields
    return controlled


def with_stopping(stages: dict[str, Fields], config: Recorded, folders: Folders) -> dict[str, Fields]:
    """The stages with a validation pool for every training of the roles in stopping.roles.

    A student's validation labels come from its supervisor; with `by: truth`, a diagnostic, they are ground truth. A model trained on
    ground truth is validated on ground truth.
    """
    stopped = dict(stages)
    for name, fields in stages.items():
        role = fields["role"] if fields.get("role") in ("weak", "ceiling") else "student"  # a hop counts as a student
        if "validation_rows" not in _kind(fields, folders).fields or config["stopping"]["by"] is None:
            continue
        if role not in config["stopping"]["roles"]:
            continue
        pool = "weak_val" if fields["rows"] == "weak_train" else "strong_val"
        validated = {**fields, "validation_rows": pool}
        labels = fields.get("labels", NO_STAGE)
        if labels != NO_STAGE and config["stopping"]["by"] == "weak":
            validated["validation_labels"] = on_pool(labels, pool, stages, stopped, folders)
        stopped[name] = validated
    return stopped


def is_student(fields: Fields, folders: Folders) -> bool:
    """Whether the stage is a student that learns from other labels than ground truth."""
    student = fields.get("role", "student") == "student" and fields.get("labels", NO_STAGE) != NO_STAGE
    return student and _kind(fields, folders).traits.learns


def _kind(fields: Fields, folders: Folders) -> Kind:
    return kinds.find(fields["kind"], folders)


def _gives(fields: Fields, artifact: str, folders: Folders) -> bool:
    return _kind(fields, folders).traits.gives == artifact
