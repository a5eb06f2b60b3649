"""Where each value of a configuration comes from: a word of the command line, a YAML file, or a default of the schema.

* The files are those that Hydra merges, in its order: a later file wins over an earlier one, the command line over all files.
* What w2s does after Hydra is followed too: stages from a method's base, the learning rate's source, `control=self_pair`.
* It is asked by `w2s config` alone, and reads the chosen files a second time.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2s_cli.config.words import ROLES_FROM_MODELS, Words, group_names, key
from w2s_cli.paths import PACKAGE, configs_folder
from w2s_cli.store.files import read_yaml

DEFAULT = "default"


@dataclass
class Source:
    """A YAML file of a configuration."""

    path: Path
    place: tuple[str, ...]  # the part of the configuration that it fills: ("weak",), or () for the whole
    content: Any

    def has(self, field: Sequence[str]) -> bool:
        """Whether the file sets a field, given by the parts of its dotted name."""
        if tuple(field[: len(self.place)]) != self.place:
            return False
        value = self.content
        for part in field[len(self.place) :]:
            if not isinstance(value, Mapping) or part not in value:
                return False
            value = value[part]
        return True


class Origins:
    """The origins of the values of one configuration."""

    def __init__(self, words: Words, config: Mapping[str, Any]) -> None:
        groups = group_names(words.folder) | set(ROLES_FROM_MODELS)
        self.given = [name for name in map(key, words.overrides) if name not in groups]  # fields of the command line
        self.config = config
        self.sources = [*_bases(config, words), *_sources(words)]

    def of(self, name: str) -> str:
        """The origin of a field in words: "command line", a path, or "default"."""
        parts = name.split(".")
        if parts[0] == "strong" and self.config["control"]["self_pair"] is True:
            return "control.self_pair: the weak model"
        if (
            parts[0] in ROLES_FROM_MODELS
            and parts[1:] == ["lr_source"]
            and self.config[parts[0]]["lr_source"] == "given"
        ):
            return f"command line: {parts[0]}.lr"
        if any(name == field or name.startswith(f"{field}.") for field in self.given):
            return "command line"
        chosen = next((source for source in reversed(self.sources) if source.has(parts)), None)
        return shown(chosen.path) if chosen else DEFAULT


def shown(path: Path) -> str:
    """A file as people name it: from the package, `configs/model/gpt2.yaml`; any other from the current folder."""
    for folder, name in ((configs_folder(), "configs"), (PACKAGE, PACKAGE.name)):
        if path.is_relative_to(folder):
            return f"{name}/{path.relative_to(folder)}"
    return os.path.relpath(path)


def _sources(words: Words) -> Iterator[Source]:
    """The files of a command line in the order in which Hydra merges them."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from w2s_cli.config.compose import search_path

    with hydra.initialize_config_dir(config_dir=str(configs_folder()), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        merged = loader.compute_defaults_list("config", [*search_path(words), *words.overrides], RunMode.RUN)
    for each in merged.defaults:
        path = _file(str(each.config_path), words)
        if path is not None:
            place = tuple(part for part in (each.package or "").split(".") if part)
            yield Source(path, place, read_yaml(path.read_text(encoding="utf-8")))


def _bases(config: Mapping[str, Any], words: Words) -> list[Source]:
    """The files of a method's bases, the lowest first."""
    base, sources = config["method"]["base"], list[Source]()
    while base is not None and (path := _file(f"method/{base}", words)) is not None:
        source = Source(path, ("method",), read_yaml(path.read_text(encoding="utf-8")))
        sources.insert(0, Source(path, ("method",), {"stages": source.content.get("stages")}))
        base = source.content.get("base")
    return sources


def _file(name: str, words: Words) -> Path | None:
    """The YAML file of an option; None for what is no file of w2s or of the user (the schema, Hydra's own)."""
    places = [configs_folder(), *([words.folder] if words.folder else [])]
    return next((place / f"{name}.yaml" for place in places if (place / f"{name}.yaml").is_file()), None)
