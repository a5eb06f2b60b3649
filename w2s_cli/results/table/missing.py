"""The command that fills an empty cell: a neighbour's configuration with the cell's own values, written as `w2s train` words.

* The neighbour is a setting of the same row, else of the same column, else any. What the cell says of its fields is copied from a setting
  that has this value, block by block, so that a model's learning rate and path come with it.
* What a run sets over a model's or data set's file (strong.max_length=64, data.limits.test=100) is the run's, not the model's: it stays the
  neighbour's. Of models and data without a file of their own (local) everything is the model's.
* A pair of models that the rule of the row's sweep leaves out (pairs=upper, pairs=strict) is not missing. The sweep's configurations
  say the rule and the sizes of its models, which is all that the sweep went by.
* A block of a configuration becomes GROUP=NAME for the file of configs/GROUP that it differs least from, and FIELD=VALUE for the rest;
  what is the default anyway is not said.
"""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from w2s_cli.config.pairs import fits
from w2s_cli.config.schema import Config
from w2s_cli.paths import configs_folder
from w2s_cli.results.table.apart import shown
from w2s_cli.results.table.entries import flatten, read_yaml, said, spelled
from w2s_cli.results.table.grid import Grid, Values
from w2s_cli.results.table.settings import Setting

BLOCKS = {  # entry field → parts of the configuration, where it is not the one of its name
    "weak": ("weak", "labels"),
    "labels": ("train.labels",),
    "head": ("train.head",),
    "train": ("train.mode", "train.lora_r", "train.lora_alpha"),
    "evaluates": ("method",),
    "setting": (
        *("method", "loss", "combine", "select", "ladder", "ensemble", "rounds", "control", "stopping"),
        *("train.mode", "train.lora_r", "train.lora_alpha", "train.labels", "train.head"),
    ),
}
OF_THE_RUN = {  # fields of a block that a command may set for whatever model or data it has
    "weak": ("lr", "batch_size", "epochs", "seed", "precision", "max_length", "gradient_checkpointing"),
    "data": ("limits", "pools", "seed", "balanced", "truncation"),
}
OF_THE_RUN["strong"] = OF_THE_RUN["weak"]
Known = dict[str, list[tuple[str, str, dict[str, Any]]]]  # config group → its options: file, name, text and values
UNSAID = ("launcher", "pretrain", "seed", "seeds")
PLAIN = re.compile(r"[\w./@%+-]+( [\w./@%+-]+)*")


def left_out(grid: Grid) -> dict[tuple[Values, Values], str]:
    """(row, column values) → rule for pairs, of the empty cells whose pair of models does not fit the rule under which its row was run."""
    ruled: dict[Values, list[Setting]] = {}
    for (row, _), cell in grid.cells.items():
        ruled.setdefault(row, []).extend(setting for setting in cell if _rule(setting) != "all")
    if not any(ruled.values()):
        return {}
    size = _sizes(setting for cell in grid.cells.values() for setting in cell)
    found = {}
    for row, column in grid.missing():
        wanted = dict(zip(grid.row_fields, row, strict=True)) | dict(zip(grid.column_fields, column, strict=True))
        if ruled[row] and not any(_pair_fits(setting, wanted, size) for setting in ruled[row]):
            found[row, column] = _rule(ruled[row][0])
    return found


def _pair_fits(setting: Setting, wanted: dict[str, str], size: dict[str, float | None]) -> bool:
    """Whether a setting's models, or those that are wanted instead, fit its rule for pairs; those of unknown size do."""
    weak, strong = (size.get(wanted.get(role, setting.entry.fields[role])) for role in ("weak", "strong"))
    return weak is None or strong is None or fits(_rule(setting), weak, strong)


def _sizes(settings: Iterable[Setting]) -> dict[str, float | None]:
    """Model → millions of parameters, by the configuration of one setting that has it."""
    having = {setting.entry.fields[role]: (setting, role) for setting in settings for role in ("weak", "strong")}
    return {name: setting.entry.config.get(role, {}).get("parameters") for name, (setting, role) in having.items()}


def _rule(setting: Setting) -> str:
    """The rule for pairs under which it was run, read without parsing the rest of its configuration."""
    return setting.entry.blocks.get("pairs", "").partition(":")[2].strip() or "all"


def commands(grid: Grid, config_dir: str | None = None) -> list[tuple[Values, Values, str | None]]:
    """(row, column values, command) of every missing cell; None where no stored configuration has a value of it."""
    folders = [Path(config_dir).expanduser()] if config_dir else []
    known: Known = {}
    found: list[tuple[Values, Values, str | None]] = []
    everything = [setting for cell in grid.cells.values() for setting in cell]
    for row, column in grid.missing():
        wanted = dict(zip(grid.row_fields, row, strict=True)) | dict(zip(grid.column_fields, column, strict=True))
        in_row = [s for (r, _), cell in grid.cells.items() if r == row for s in cell]
        in_column = [s for (_, c), cell in grid.cells.items() if c == column for s in cell]
        neighbour = [*in_row, *in_column][0]
        seeds = [int(wanted.pop("seed"))] if "seed" in wanted else neighbour.seeds
        config = _config(neighbour, wanted, [*in_row, *in_column, *everything], [*folders, configs_folder()], known)
        if config is None:
            found.append((row, column, None))
            continue
        words = [*overrides(config, [*folders, configs_folder()], known), *_seeds(seeds)]
        options = ["--config-dir", config_dir] if config_dir else []
        found.append((row, column, shlex.join(["w2s", "train", *options, *words])))
    return found


def _config(
    neighbour: Setting, wanted: dict[str, str], donors: Sequence[Setting], folders: Sequence[Path], known: Known
) -> dict[str, Any] | None:
    """The neighbour's configuration with the wanted values."""
    own = neighbour.entry.config
    config: dict[str, Any] = json.loads(json.dumps(own))
    for name, value in sorted(wanted.items(), key=lambda item: "." in item[0]):  # whole blocks, then fields of them
        if shown(neighbour.entry, name, [*wanted]) == value:
            continue
        donor = next((s for s in donors if shown(s.entry, name, [*wanted]) == value), None)
        if donor is None or not donor.entry.config:
            return None
        given = donor.entry.config
        for path in BLOCKS.get(name, (name,)):
            if name == "setting" and (path == "loss" in wanted or (path not in given and "." not in path)):
                continue
            if not _copy(given, config, path.split(".")) and name != "setting":
                return None
        if name in OF_THE_RUN and name in own:
            config[name] = _with_overrides(name, own[name], config[name], folders, known)
    return config or None


def _with_overrides(
    name: str, own: dict[str, Any], given: dict[str, Any], folders: Sequence[Path], known: Known
) -> dict[str, Any]:
    """A block of another run as its file has it, with what `own` sets over its own file."""
    made: dict[str, Any] = json.loads(json.dumps(given))
    blank = _blank(name)
    group = "model" if name in ("weak", "strong") else name
    for block, values in ((given, made), (own, own)):
        option, differing = _option(group, block, blank, folders, known)
        file: dict[str, Any] = next((holder["values"] for stem, _, holder in known[group] if stem == option), {})
        if not any(file.get(place) for place in ("id", "path", "hub")):
            continue  # a file for any model
        below = dict(flatten(merged(blank, file)))
        for field, value in differing:
            if field.split(".")[0] in OF_THE_RUN[name]:
                _put(made, field.split("."), below.get(field) if values is made else value)
    return made


def _put(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value


def _blank(name: str) -> dict[str, Any]:
    """A block of the configuration with nothing set."""
    made = next(part.default_factory for part in fields(Config) if part.name == name)
    return asdict(made()) if isinstance(made, type) else {}


def _copy(source: dict[str, Any], target: dict[str, Any], path: Sequence[str]) -> bool:
    """Set in `target` what `source` has at a path; False if one of them has no such field."""
    for part in path[:-1]:
        if not isinstance(source.get(part), dict) or not isinstance(target.get(part), dict):
            return False
        source, target = source[part], target[part]
    if path[-1] not in source or path[-1] not in target:
        return False
    target[path[-1]] = source[path[-1]]
    return True


def overrides(config: dict[str, Any], folders: Sequence[Path], known: Known) -> list[str]:
    """A configuration as words of the command line, without seeds. `known` keeps what was read of the config groups."""
    chosen = defaults()
    names: list[str] = []
    values: list[str] = []
    for part in fields(Config):
        name = part.name
        if name in UNSAID or name not in config:
            continue
        block = config[name]
        if not isinstance(block, dict):
            made: Any = part.default_factory if part.default is NO_DEFAULT else None
            if block != (part.default if made is None else made()):
                values.append(f"{name}={written(block)}")
            continue
        group = "model" if name in ("weak", "strong") else name
        option, differing = _option(group, block, _blank(name), folders, known)
        if option is not None and option != chosen.get(name):
            names.append(f"{name}={option}")
        if name != "method":  # its stages repeat the other blocks
            values += [f"{name}.{path}={written(value)}" for path, value in differing]
    return [*names, *values]


def _option(
    group: str,
    block: dict[str, Any],
    blank: dict[str, Any],
    folders: Sequence[Path],
    known: Known,
) -> tuple[str | None, list[tuple[str, Any]]]:
    """(option of a config group that a block differs least from, the differing fields)."""
    if group not in known:
        known[group] = []
        for folder in folders:
            for path in sorted((folder / group).glob("*.yaml")):
                text = path.read_text(encoding="utf-8")
                called = re.search(r"^name: *[\"']?([^\s\"'#]+)", text, flags=re.MULTILINE)
                known[group].append((path.stem, called[1] if called else "", {"text": text}))
    offered = known[group]
    same_name = [one for one in offered if block.get("name") in one[:2]]
    best: tuple[str | None, list[tuple[str, Any]]] = (None, _differing(block, blank))
    for stem, _, holder in same_name or ([] if "name" in block else offered):
        if "values" not in holder:
            holder["values"] = read_yaml(holder["text"])
        differing = _differing(block, merged(blank, holder["values"]))
        if best[0] is None or len(differing) < len(best[1]):
            best = (stem, differing)
    return best


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, `above` over `below`."""
    made = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(made.get(name), dict)
        made[name] = merged(made[name], value) if both else value
    return made


def _differing(block: dict[str, Any], base: dict[str, Any]) -> list[tuple[str, Any]]:
    """(dotted field, value) of what a block has otherwise than its base; interpolations of the base fit anything."""
    below = dict(flatten(base))
    unsure = ("lr_source",)  # says where a figure came from; sets nothing
    return [
        (name, value)
        for name, value in flatten(block)
        if not (name in below and (_same(below[name], value) or "${" in str(below[name])))
        and name not in unsure
        and not (value == {} and any(other.startswith(f"{name}.") for other in below))
    ]


def _same(base: Any, value: Any) -> bool:
    """Equal; a YAML file's 1e-5 is text to PyYAML and a number to Hydra."""
    return bool(base == value) or (isinstance(base, str) and isinstance(value, float) and spelled(base) == said(value))


def defaults() -> dict[str, str]:
    """What configs/config.yaml chooses: field → option."""
    listed = read_yaml((configs_folder() / "config.yaml").read_text(encoding="utf-8")).get("defaults", [])
    pairs: Iterable[tuple[str, Any]] = (pair for item in listed if isinstance(item, dict) for pair in item.items())
    return {name.split("@")[-1]: str(option) for name, option in pairs if option is not None}


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
    return (
        "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if "'" in value or "\\" in value else f"'{value}'"
    )
