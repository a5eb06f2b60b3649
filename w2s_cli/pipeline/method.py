"""A method's stages written out: from what its YAML says to one plain dictionary per stage.

* Loops: `foreach: N` or `foreach: ladder` (a list of the configuration) makes `name[0]`, `name[1]`, …; in its fields `{item}` is the
  list's item, `{i}` the turn, `{prev}` the turn before and `{member}` how often this item came before. `first:` holds the fields of the
  first turn. `name[*]` means all of them, `name[last]` the last one. Nothing else is a language.
* `labels=file` puts a file in the weak supervisor's place; `control=` puts a stage before every student; `stopping=` gives
  trainings a validation pool, whose weak labels are made as those of the training pool are.
"""

import re
from collections.abc import Mapping
from typing import Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline.kinds import TRUTH

Fields = dict[str, Any]
LISTS = {
    "ladder": "ladder=[MODEL,…], the models between weak and strong, smallest first",
    "ensemble": "ensemble=K for K seeds of the weak model, or ensemble=[MODEL,…]",
    "rounds": "rounds=N",
}


def stages_of(config: Mapping[str, Any]) -> dict[str, Fields]:
    """Name → fields (with `kind`) of all stages that the configuration's method names."""
    stages = written_out(config)
    stages = with_file_labels(stages, config["labels"], config["method"]["name"])
    stages = with_control(stages, config["control"])
    return with_stopping(stages, config["stopping"])


def written_out(config: Mapping[str, Any]) -> dict[str, Fields]:
    """Loops unrolled and references to them resolved."""
    method = config["method"]
    turns: dict[str, int] = {}
    found: dict[str, Fields] = {}
    for name, written in method["stages"].items():
        fields = dict(written)
        if "kind" not in fields:
            raise UserError(f'stage "{name}" of method "{method["name"]}" has no kind.')
        over, first = fields.pop("foreach", None), fields.pop("first", {})
        if over is None:
            found[name] = fields
            continue
        items = _items(over, config, name)
        turns[name] = len(items)
        for i, item in enumerate(items):
            turn = {**fields, **(first if i == 0 else {})}
            found[f"{name}[{i}]"] = {field: _filled(value, item, i, items) for field, value in turn.items()}
    return {
        name: {field: _referred(value, turns, name) for field, value in fields.items() if value is not None}
        for name, fields in found.items()
    }


def _items(over: Any, config: Mapping[str, Any], name: str) -> list[Any]:
    """What a loop goes over: a number, a list, or the name of a list of the configuration."""
    if isinstance(over, str):
        if over not in LISTS:
            raise UserError(f'stage "{name}": foreach: "{over}" is no list.{did_you_mean(over, LISTS)}')
        given = config[over]
        if over == "ensemble" and isinstance(given, int):
            given = [config["weak"]] * given
        if not given:
            raise UserError(f'method "{config["method"]["name"]}" needs {LISTS[over]}.')
        over = given
    return list(range(over)) if isinstance(over, int) else list(over)


def _filled(value: Any, item: Any, i: int, items: list[Any]) -> Any:
    """One field of one turn."""
    if not isinstance(value, str):
        return value
    whole = {"{item}": item, "{i}": i, "{prev}": i - 1, "{member}": items[:i].count(item)}
    if value in whole:
        return whole[value]
    return value.replace("{i}", str(i)).replace("{prev}", str(i - 1))


def _referred(value: Any, turns: Mapping[str, int], name: str) -> Any:
    """`loop[*]` as the list of its stages, `loop[last]` as the last one, also inside a list."""
    if isinstance(value, list):
        return [one for each in value for one in _as_list(_referred(each, turns, name))]
    found = re.fullmatch(r"(\w+)\[(\*|last)\]", value) if isinstance(value, str) else None
    if not found:
        return value
    loop, which = found.groups()
    if loop not in turns:
        raise UserError(
            f'stage "{name}": "{value}", but "{loop}" is no loop of this method.{did_you_mean(loop, turns)}'
        )
    return f"{loop}[{turns[loop] - 1}]" if which == "last" else [f"{loop}[{i}]" for i in range(turns[loop])]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def with_file_labels(stages: dict[str, Fields], labels: Mapping[str, Any], method: str) -> dict[str, Fields]:
    """Labels from a file in the weak supervisor's place, if the configuration says so."""
    if labels["source"] == "weak":
        return stages
    if not labels["path"]:
        raise UserError("labels=file needs the file: labels.path=FILE")
    supervisors = {name for name, f in stages.items() if f["kind"] == "finetune" and f.get("role") == "weak"}
    if len(supervisors) != 1:
        raise UserError(
            f'labels=file takes the place of one weak supervisor, and method "{method}" has {len(supervisors)}.'
        )
    replaced, dropped = {}, set(supervisors)
    for name, fields in stages.items():
        if fields["kind"] == "label" and fields.get("model") in supervisors:
            path = labels["test_path"] if fields["rows"] == "test" else labels["path"]
            if path:
                replaced[name] = {"kind": "import_labels", "path": path, "rows": fields["rows"]}
            else:
                dropped.add(name)
    for name, fields in stages.items():  # without them the student would learn the truth
        if name not in supervisors and fields.get("labels") in dropped:
            raise UserError(
                f'stage "{name}" learns from "{fields["labels"]}", which no file gives: set labels.test_path=FILE.'
            )
    return {
        name: {f: v for f, v in fields.items() if not (isinstance(v, str) and v in dropped)}
        for name, fields in {**stages, **replaced}.items()
        if name not in dropped
    }


def is_taught(fields: Fields) -> bool:
    """Whether the stage is a student that learns from labels which are not the truth."""
    return (
        fields["kind"] in ("finetune", "few_shot")
        and fields.get("role", "student") == "student"
        and fields.get("labels", TRUTH) != TRUTH
    )


def with_control(stages: dict[str, Fields], control: Mapping[str, Any]) -> dict[str, Fields]:
    """A control stage between every student and its labels."""
    if not control["rule"]:
        return stages
    found: dict[str, Fields] = {}
    for name, fields in stages.items():
        if is_taught(fields):
            controlled = f"{control['name']}:{fields['labels']}"
            pool = fields["examples"] if fields["kind"] == "few_shot" else fields["rows"]
            rule = {"name": control["rule"], "args": control["args"]}
            found[controlled] = {
                "kind": "select",
                "labels": fields["labels"],
                "rows": pool,
                "rule": rule,
                "model": fields["model"],
            }
            fields = {**fields, "labels": controlled}
        found[name] = fields
    return found


def with_stopping(stages: dict[str, Fields], stopping: Mapping[str, Any]) -> dict[str, Fields]:
    """A validation pool for every training of the chosen roles.

    A student's validation labels are its supervisor's, unless `by: truth` says that this is a diagnostic; a model that is trained on
    ground truth is validated on ground truth.
    """
    if stopping["by"] is None:
        return stages
    found = dict(stages)
    for name, fields in stages.items():
        role = (
            fields["role"] if fields.get("role") in ("weak", "ceiling") else "student"
        )  # a hop learns as a student does
        if fields["kind"] != "finetune" or role not in stopping["roles"]:
            continue
        pool = "weak_val" if fields["rows"] == "weak_train" else "strong_val"
        validated = {**fields, "validation_rows": pool}
        labels = fields.get("labels", TRUTH)
        if labels != TRUTH and stopping["by"] == "weak":
            validated["validation_labels"] = _on_pool(labels, pool, stages, found)
        found[name] = validated
    return found


def _on_pool(name: str, pool: str, stages: dict[str, Fields], found: dict[str, Fields]) -> str:
    """The stage that labels `pool` as stage `name` labels its own rows; made from it, with all that it reads."""
    fields = stages.get(name)
    if fields is None or "rows" not in fields:
        raise UserError(f'stopping: "{name}" is no stage that labels rows.{did_you_mean(name, stages)}')
    moved = {**fields, "rows": pool}
    for edge in ("labels", "student"):
        given = fields.get(edge)
        if fields["kind"] in ("combine", "select") and given is not None:
            there = [_on_pool(one, pool, stages, found) for one in _as_list(given)]
            moved[edge] = there if isinstance(given, list) else there[0]
    found[f"{name}@{pool}"] = moved
    return f"{name}@{pool}"
