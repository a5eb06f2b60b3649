"""Why no stage reads what a word sets, by the schema and the methods' stages: the word that takes its place, or that has the effect."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

from w2s_cli.config.declared import class_of, declared_fields, inner_class, needs, note_on
from w2s_cli.config.notes import Unless
from w2s_cli.config.schema import Config

NAMED = 3  # stages that a sentence names


def advice(
    word: str, words: Sequence[str], is_read: Callable[[str], bool], configs: Sequence[Mapping[str, Any]]
) -> str:
    """The end of the sentence `WORD has no effect …`; "" if nothing is known.

    Args:
        words: all words of the command line.
        is_read: whether a stage reads a field, or a field of a group.
        configs: of all jobs.
    """
    name, _, value = word.lstrip("+~").partition("=")
    group, _, field = name.partition(".")
    methods = ", ".join(dict.fromkeys(config["method"]["name"] for config in configs))
    replaced = note_on(name, Unless)
    if other := next((one for one in words if replaced and one.lstrip("+").partition("=")[0] == replaced.word), None):
        return f"beside {other}, which takes its place: give one of the two."
    if group == "launcher":
        launchers = ", ".join(dict.fromkeys(config["launcher"]["name"] for config in configs))
        return f"with launcher={launchers}: use it with {needs(name)}." if needs(name) else ""
    if own := _own_fields(group, field, configs):
        those = " and ".join(own[:NAMED]) + (" and so on" if len(own) > NAMED else "")
        needed = needs(name)
        or_all = f", or choose one for all of them, {needed} {word}" if needed else ""
        return f"with method={methods}, whose stages have their own {group}: change {those}{or_all}."
    if class_of(group) and not is_read(group) and (others := [other for other in _alike(group) if is_read(other)]):
        instead = [f"{other}.{match}" for other in others for match in _same(other, field, value)]
        groups = " and ".join(f"{other}.*" for other in others)
        return f"with method={methods}: its trainings read {groups}; {_use(instead, others[0])}"
    return ""


def _use(instead: Sequence[str], group: str) -> str:
    return f"use {' or '.join(instead)}." if instead else f"w2s config {group} shows them."


def _own_fields(group: str, field: str, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields of stages that have a value of their own where others have the group's: method.stages.round.objective.args.beta."""
    top = field.partition(".")[0]
    own = [
        f"method.stages.{name}.{group}.{field}"
        for config in configs
        for name, stage in config["method"]["stages"].items()
        if isinstance(stage.get(group), Mapping) and top in stage[group] and stage[group] != config.get(group)
    ]
    return list(dict.fromkeys(own))


def _alike(group: str) -> Collection[str]:
    """The other groups whose fields have a common part with this group's: tune and preference of train."""
    common = _parts(class_of(group))
    return [other.name for other in fields(Config) if other.name != group and common & _parts(inner_class(other.type))]


def _parts(cls: Any) -> set[Any]:
    """A group's class and its bases."""
    return {part for part in getattr(cls, "__mro__", ()) if is_dataclass(part)}


def _same(group: str, field: str, value: str) -> list[str]:
    """What stands in another group for a field, or for the name of a group's file: mode=lora of train=lora."""
    if field:
        return [f"{field}={value}"] if f"{group}.{field}" in declared_fields() else []
    allowed = {one.name: get_args(one.type) for one in fields(class_of(group)) if get_origin(one.type) is Literal}
    return [f"{name}={value}" for name, values in allowed.items() if value in values]
