"""The configurations of a sweep, without composing each from its files.

* Hydra takes 0.1 CPU seconds to compose a job and, in a sweep, does it twice. Here every swept choice of a group is composed once, and a
  job's configuration is put together from those: groups fill disjoint parts of it. A swept field is set on the result.
* What is not so simple (groups that fill other parts, added or deleted fields, globs) is composed whole, job by job. A test
  compares both ways.
"""

import copy
import itertools
from pathlib import Path
from typing import Any

from w2s_cli.paths import configs_folder

GLOBAL_GROUPS = ("debug",)  # their files reach into other groups


def compose_sweep(overrides: list[str], folder: Path | None) -> list[Any]:
    """The composed configuration of each job, in Hydra's order: the last word of the command line varies fastest."""
    import hydra

    fixed, axes = _axes(overrides)
    search = [f"hydra.searchpath=[file://{folder}]"] if folder else []
    with hydra.initialize_config_dir(config_dir=str(configs_folder()), version_base="1.3"):

        def compose(words: list[str]) -> Any:
            return hydra.compose("config", overrides=[*search, *fixed, *words])

        jobs = [list(words) for words in itertools.product(*axes)]
        if not all(_is_group(axis[0], folder) or _is_field(axis[0], folder) for axis in axes):
            return [compose(words) for words in jobs]
        first = [axis[0] for axis in axes]
        base = compose(first)
        parts = {
            word: compose([*first[:number], word, *first[number + 1 :]]) if word != axis[0] else base
            for number, axis in enumerate(axes)
            if _is_group(axis[0], folder)
            for word in axis
        }
    return [_assembled(base, words, parts) for words in jobs]


def sweep_words(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, in the order of `compose_sweep`: those of all jobs, then those that set it apart."""
    fixed, axes = _axes(overrides)
    return [[*fixed, *words] for words in itertools.product(*axes)]


def _axes(overrides: list[str]) -> tuple[list[str], list[list[str]]]:
    """(overrides that all jobs have, for each swept one the overrides that it stands for)."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    fixed = [one.input_line for one in parsed if not one.is_sweep_override()]
    swept = [one for one in parsed if one.is_sweep_override()]
    return fixed, [[f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()] for one in swept]


def _assembled(base: Any, words: list[str], parts: dict[str, Any]) -> Any:
    """The base with the groups of one job in their places, then its fields."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    config = copy.deepcopy(base)
    for word in words:
        if word in parts:
            place = _place(word)
            config[place] = parts[word][place]  # which copies it
    parser = OverridesParser.create()
    for word in words:
        if word not in parts:
            override = parser.parse_override(word)
            OmegaConf.update(config, override.key_or_group, override.value())
    return config


def _place(word: str) -> str:
    """The part of the configuration that a group fills: `model@weak=gpt2` → weak."""
    group = word.partition("=")[0]
    return group.partition("@")[2] or group


def _groups(folder: Path | None) -> set[str]:
    places = [place for place in (configs_folder(), folder) if place]
    return {path.name for place in places for path in place.iterdir() if path.is_dir()}


def _is_group(word: str, folder: Path | None) -> bool:
    """Whether this is a choice of a group that fills a part of its own."""
    group = word.partition("=")[0].partition("@")[0]
    return group in _groups(folder) and group not in GLOBAL_GROUPS


def _is_field(word: str, folder: Path | None) -> bool:
    """Whether this sets a field that is there."""
    name = word.partition("=")[0]
    return name.replace(".", "").replace("_", "").isalnum() and name not in _groups(folder)
