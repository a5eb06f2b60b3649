"""The command for an empty cell: the words of a neighbour's command line, with words for the cell's own values.

* The neighbour is a setting of the same row, else of the same column. For a field with another value than the neighbour's, the words come
  from a setting with this value (a donor); a dotted field (strong.lr) is written out.
* A word over the file of a model or data set (strong.max_length=64, data.limits.test=100) belongs to the run, so it stays the neighbour's.
  For a model or data set without its own file (local) all its words come from the donor.
* A pair of models that the rule of the row's sweep leaves out (pairs=upper, pairs=strict) is not missing. The sweep's configurations
  have the rule and the sizes of its models.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.config.pairs import fits
from w2s_cli.paths import configs_folder, read_mapping
from w2s_cli.results.reader import Entry
from w2s_cli.results.stages import read_stage
from w2s_cli.results.table.distinguishing import NOT_SETTINGS, shown_in
from w2s_cli.results.table.grid import Grid, Values
from w2s_cli.results.table.settings import Setting
from w2s_cli.store.places import OUTPUTS, from_here

TRAIN = ("train", "train.mode", "train.lora")
PLACES = {  # field of a result → names in its words, if they differ
    "weak": ("weak", "labels"),
    "labels": ("train.labels", "train.sharpening"),
    "head": ("train.head",),
    "train": TRAIN,
    "evaluates": ("method",),
    "setting": (
        *("method", "combine", "select", "ladder", "ensemble", "rounds", "control", "stopping"),
        *(*TRAIN, "train.labels", "train.sharpening", "train.head"),
    ),
}
EXACT = ("train",)  # a group whose dotted words belong to other fields too
MODELS = ("weak", "strong")
SOURCES = ("id", "path", "hub")  # a file of configs/model or configs/data without these is for any model or data set
PLAIN = re.compile(r"[\w./@%+-]+( [\w./@%+-]+)*")


def left_out(grid: Grid) -> dict[tuple[Values, Values], str]:
    """(row, column values) → rule for pairs, for empty cells whose pair of models violates the rule of their row's sweep."""
    ruled: dict[Values, list[Setting]] = {}
    for (row, _), cell in grid.cells.items():
        ruled.setdefault(row, []).extend(setting for setting in cell if _rule(setting) != "all")
    if not any(ruled.values()):
        return {}
    size = _sizes(setting for cell in grid.cells.values() for setting in cell)
    rules = {}
    for row, column in grid.missing():
        wanted = _wanted(grid, row, column)
        if ruled[row] and not any(_pair_fits(setting, wanted, size) for setting in ruled[row]):
            rules[row, column] = _rule(ruled[row][0])
    return rules


def _wanted(grid: Grid, row: Values, column: Values) -> dict[str, str]:
    """Field → value in a cell."""
    return dict(zip(grid.row_fields, row, strict=True)) | dict(zip(grid.column_fields, column, strict=True))


def _pair_fits(setting: Setting, wanted: dict[str, str], size: dict[str, float | None]) -> bool:
    """Whether the setting's models, replaced by `wanted`, satisfy its rule for pairs; true for models of unknown size."""
    weak, strong = (size.get(wanted.get(role, setting.entry.fields[role])) for role in MODELS)
    return weak is None or strong is None or fits(_rule(setting), weak, strong)


def _sizes(settings: Iterable[Setting]) -> dict[str, float | None]:
    """Model → millions of parameters, from the configuration of one setting with the model."""
    setting_of = {setting.entry.fields[role]: (setting, role) for setting in settings for role in MODELS}
    return {name: setting.entry.config.get(role, {}).get("parameters") for name, (setting, role) in setting_of.items()}


def _rule(setting: Setting) -> str:
    """The rule for pairs of the setting's sweep, read without parsing the rest of its configuration."""
    return setting.entry.blocks.get("pairs", "").partition(":")[2].strip() or "all"


def commands(
    grid: Grid, config_dir: str | None = None, outputs: str = OUTPUTS
) -> list[tuple[Values, Values, str | None]]:
    """(row, column values, command) of every missing cell; None if no stored setting has one of its values.

    `config_dir` and `outputs` are those of `w2s table`. Without `config_dir` the command has that of a stored result.
    """
    all_settings = [setting for cell in grid.cells.values() for setting in cell]
    commands_of: list[tuple[Values, Values, str | None]] = []
    for row, column in grid.missing():
        wanted = _wanted(grid, row, column)
        neighbours = [s for (r, _), cell in grid.cells.items() if r == row for s in cell]
        neighbours += [s for (_, c), cell in grid.cells.items() if c == column for s in cell]
        own = config_dir or _config_dir([setting.entry for setting in [*neighbours, *all_settings]])
        folders = [*([Path(own).expanduser()] if own else []), configs_folder()]
        seeds = [int(wanted.pop("seed"))] if "seed" in wanted else neighbours[0].seeds
        words = _words(
            neighbours[0].entry, wanted, [setting.entry for setting in [*neighbours, *all_settings]], folders
        )
        options = ["--config-dir", from_here(own)] if own else []
        places = [f"outputs={written(outputs)}"] if outputs != OUTPUTS else []
        here = [_path_from_here(word) for word in words or ()]
        command = None if words is None else shlex.join(["w2s", "train", *options, *here, *_seeds(seeds), *places])
        commands_of.append((row, column, command))
    return commands_of


def _config_dir(entries: Iterable[Entry]) -> str | None:
    """The user's config folder of the first of these results that has one, from its stage; None if none has."""
    jobs = (read_stage(entry.run.store, entry.key).job for entry in entries)
    folders = (folder for job in jobs for folder in job.get("execution", {}).get("folders", ()))
    return next((folder for folder in folders if Path(folder).is_dir()), None)


def _path_from_here(word: str) -> str:
    """A word whose value is a path in the folder of this command, as the user would type it here; any other word unchanged."""
    name, sign, value = word.partition("=")
    return f"{name}{sign}{from_here(value)}" if sign and os.path.isabs(value) else word


def _words(
    neighbour: Entry, wanted: dict[str, str], donors: Sequence[Entry], folders: Sequence[Path]
) -> list[str] | None:
    """The neighbour's words with the words of the wanted values; None if no donor has a value."""
    words = [word for word in neighbour.words if not _about(word, NOT_SETTINGS)]
    for name, value in sorted(wanted.items(), key=lambda item: "." in item[0]):  # whole groups before their fields
        if shown_in(neighbour, name, [*wanted]) == value:
            continue
        donor = next((entry for entry in donors if shown_in(entry, name, [*wanted]) == value), None)
        if donor is None:
            return None
        group, _, last = name.rpartition(".")
        # the name of a rule is its file's: the group is chosen, not the name set
        places = (group,) if last == "name" else PLACES.get(name, (name,))
        if name == "setting" and "loss" not in wanted:
            places = (*places, "loss")
        if name in (*MODELS, "data"):
            words = _with_model(name, words, donor, folders)
            places = tuple(place for place in places if place != name)
        words = [word for word in words if not _about(word, places)]
        words += [word for word in donor.words if _about(word, places) and word not in words]
        if "." in name and last != "name" and not any(_about(word, (name,)) for word in words):
            words.append(f"{name}={written(_at(donor.config, name))}")
    return words


def _with_model(name: str, words: Sequence[str], donor: Entry, folders: Sequence[Path]) -> list[str]:
    """`words` with the donor's model or data set `name`, and with the run's own words over its file."""
    donor_words = [word for word in donor.words if _about(word, (name,))]
    others = [word for word in words if not _about(word, (name,))]
    if _for_any(name, words, folders) or _for_any(name, donor_words, folders):
        return [*others, *donor_words]
    own_words = [word for word in words if _about(word, (name,)) and _name(word) != name]
    return [*others, *(word for word in donor_words if _name(word) == name), *own_words]


def _for_any(name: str, words: Sequence[str], folders: Sequence[Path]) -> bool:
    """Whether the words choose a file without a model or data set of its own (weak=local)."""
    group = "model" if name in MODELS else name
    for option in (word.partition("=")[2] for word in words if _name(word) == name):
        path = next((p for folder in folders if (p := folder / group / f"{option}.yaml").is_file()), None)
        if path is not None and not any(read_mapping(path).get(source) for source in SOURCES):
            return True
    return False


def _name(word: str) -> str:
    """The option or field that a word sets."""
    return word.lstrip("+~").partition("=")[0]


def _about(word: str, places: Sequence[str]) -> bool:
    """Whether a word sets one of `places`, or a field below one of them."""
    name = _name(word)
    return any(name == place or (name.startswith(f"{place}.") and place not in EXACT) for place in places)


def _at(config: dict[str, Any], name: str) -> Any:
    """The value of a dotted field."""
    value: Any = config
    for part in name.split("."):
        value = value[int(part)] if isinstance(value, list) else value.get(part) if isinstance(value, dict) else None
    return value


def _seeds(seeds: Sequence[int]) -> list[str]:
    """`seeds=5`, `seed=3`, or a sweep over the seeds."""
    if list(seeds) == list(range(len(seeds))) and len(seeds) > 1:
        return [f"seeds={len(seeds)}"]
    if len(seeds) == 1:
        return [f"seed={seeds[0]}"] if seeds[0] else []
    return ["-m", "seed=" + ",".join(map(str, seeds))]


def written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        value = [item["name"] for item in value]  # models of a ladder or an ensemble
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if not isinstance(value, str):
        return repr(value)
    keyword = value.lower() in ("null", "true", "false", "nan", "inf", "") or re.fullmatch(
        r"[-+]?[\d._]+(e[-+]?\d+)?", value
    )
    if PLAIN.fullmatch(value) and not keyword:
        return value
    if value.isprintable() and "\\" not in value:
        return "'" + value.replace("'", "\\'") + "'"
    return json.dumps(value, ensure_ascii=False)  # double quotes have the escapes of YAML and JSON (config/quotes.py)
