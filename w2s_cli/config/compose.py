"""From the command line to plain configurations: the part that drives Hydra.

* `weak=gpt2` is an override of the group `model` at the package `weak`, so it is rewritten to Hydra's `model@weak=gpt2`; an unknown
  model then fails with the list of known ones instead of becoming a plain string. A dotted `weak.lr=…` is left alone.
* One primary config for all commands. A single run is composed here and a sweep in `sweeps.py`: one list of configurations, so that one
  scheduler sees the union of their stages. With another launcher or sweeper of Hydra's the multirun goes through hydra.main.
* Hydra's errors become ours.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.config.check import check
from w2s_cli.config.methods import stages_of
from w2s_cli.config.schema import Config, ModelConfig
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import PACKAGE, configs_folder

Task = Callable[[list[dict[str, Any]], list[Path]], int]
ROLES_FROM_MODELS = ("weak", "strong")
OPTIONS = ("-m", "--multirun", "--config-dir", "--force", "--debug", "--help")


@dataclass
class Words:
    """A command line taken apart."""

    overrides: list[str] = field(default_factory=list)
    multirun: bool = False
    folder: Path | None = None  # --config-dir


def run(arguments: list[str], task: Task) -> int:
    """Compose what `arguments` say and hand it to `task(configs, config folders)`; returns its exit code."""
    sys.path.append(str(PACKAGE / "config" / "hydra_path"))  # where Hydra finds our launcher
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    words = parse(arguments)

    ConfigStore.instance().store(name="schema", node=Config)
    try:
        return sweep(words, task) if words.multirun else task([plain(compose_one(words), words)], folders(words))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise UserError(
            "a group must have one of its names, not null: see configs/ for weak=, strong=, data=, …"
        ) from error
    except YAMLError as error:
        raise UserError(f"a YAML file cannot be read: {' '.join(str(error).split())}") from error


def job_words(arguments: list[str], count: int) -> list[list[str]]:
    """For each of the `count` configurations that `run` hands over, in its order, the overrides that made it, as people type them.

    Under another launcher of Hydra, which hands over one job at a time, Hydra knows the words of this job. Under another sweeper of
    Hydra, which makes up values, nobody does, and a job has no words.
    """
    words = parse(arguments)
    jobs = [words.overrides]
    if words.multirun:
        from hydra.core.hydra_config import HydraConfig

        from w2s_cli.config.sweeps import sweep_words

        jobs = sweep_words(list(HydraConfig.get().overrides.task) if _has_hydra(words) else words.overrides)
    if len(jobs) != count:
        return [[] for _ in range(count)]
    return [[_typed(word) for word in job if not _is_hydras(word)] for job in jobs]


def _typed(word: str) -> str:
    """`model@weak=gpt2` → `weak=gpt2`: the word that `rewrite` takes."""
    name = word.partition("=")[0]
    return word.removeprefix("model@") if name in [f"model@{role}" for role in ROLES_FROM_MODELS] else word


def _has_hydra(words: Words) -> bool:
    """Whether a word is for Hydra itself: another launcher, or another sweeper."""
    return any(map(_is_hydras, words.overrides))


def _is_hydras(word: str) -> bool:
    return word.lstrip("+~").startswith("hydra")


def compose_one(words: Words) -> Any:
    """The configuration of a single run, by Hydra's compose API: hydra.main would compose it twice, which takes 0.1 s more."""
    import hydra

    search = [f"hydra.searchpath=[file://{words.folder}]"] if words.folder else []
    with hydra.initialize_config_dir(config_dir=str(configs_folder()), version_base="1.3"):
        return hydra.compose("config", overrides=[*search, *words.overrides])


class JobFailed(Exception):  # noqa: N818 - carries an exit code through Hydra
    """A job of a sweep that another launcher than ours runs, perhaps in another process, did not end with 0."""


def sweep(words: Words, task: Task) -> int:
    """All configurations of a multirun: at once by our own launcher; through hydra.main if another launcher or sweeper is asked for."""
    import hydra

    if not _has_hydra(words):
        from w2s_cli.config.sweeps import compose_sweep

        return task([plain(config, words) for config in compose_sweep(words.overrides, words.folder)], folders(words))
    codes: list[int] = []

    def one_job(config: Any) -> None:
        code = task([plain(config, words)], folders(words))
        if code:
            raise JobFailed(code)

    def whole_sweep(configs: list[Any]) -> None:
        codes.append(task([plain(config, words) for config in configs], folders(words)))

    one_job.whole_sweep = whole_sweep  # type: ignore[attr-defined]
    options = ["--config-dir", str(words.folder)] if words.folder else []
    sys.argv = ["w2s", "--multirun", *options, *words.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through: their messages are made here
    try:
        hydra.main(config_path=str(configs_folder()), config_name="config", version_base="1.3")(one_job)()
    except JobFailed as failed:
        return int(failed.args[0])
    return max(codes, default=0)


def rewrite(word: str) -> str:
    """`weak=gpt2` → `model@weak=gpt2`; everything else as it is."""
    name, sign, value = word.partition("=")
    return f"model@{name}={value}" if sign and name in ROLES_FROM_MODELS else word


def parse(arguments: list[str]) -> Words:
    """Take the options off; bare words and unknown options are refused here, with better messages than Hydra's."""
    words = Words()
    waiting = iter(arguments)
    for word in waiting:
        name, _, value = word.partition("=")
        if name in ("-m", "--multirun"):
            words.multirun = True
        elif name == "--config-dir":
            words.folder = Path(value or next(waiting, "")).expanduser().absolute()
            if not words.folder.is_dir():
                raise UserError(f"--config-dir: there is no folder {words.folder}.")
        elif word.startswith("-"):
            hint = " The outputs folder is set as outputs=DIR." if name == "--outputs" else did_you_mean(word, OPTIONS)
            raise UserError(f'unknown option "{word}".{hint}')
        elif "=" not in word and not word.startswith("~"):
            raise UserError(
                f'"{word}" is not an override: write GROUP=NAME or FIELD=VALUE, for example weak=gpt2 or seed=3.'
            )
        else:
            words.overrides.append(rewrite(word))
    return words


def plain(config: Any, words: Words) -> dict[str, Any]:
    """Plain Python values of a composed configuration, checked."""
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue

    try:
        ours = OmegaConf.masked_copy(config, [name for name in config if name != "hydra"])
        if ours.control.self_pair:
            ours.strong = ours.weak
        method: Any = OmegaConf.to_container(ours.method, resolve=False)
        ours.method.stages = stages_of(method, [*folders(words), configs_folder()])
        values: dict[str, Any] = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except MissingMandatoryValue as error:
        missing = re.sub(r"^Missing mandatory value: ", "", str(error).splitlines()[0])
        raise UserError(f"{missing} has no value: give it on the command line, {missing}=…") from error
    values["ladder"] = [named_model("ladder", name, words) for name in values["ladder"]]
    if isinstance(values["ensemble"], list):
        values["ensemble"] = [named_model("ensemble", name, words) for name in values["ensemble"]]
    check(values)
    if values["train"]["lr"] is not None:
        for name in ("weak.lr", "strong.lr"):
            if any(word.lstrip("+").startswith(f"{name}=") for word in words.overrides):
                raise UserError(
                    f"{name} has no effect here: train.lr={values['train']['lr']:g} is the learning rate of all models. "
                    "Set train.lr, or student.lr and ceiling.lr; train.lr=null gives each model its own."
                )
    return values


def named_model(field: str, name: Any, words: Words) -> dict[str, Any]:
    """The settings of one model of a list on the command line (ladder=[gpt2,gpt2-medium]), from configs/model/."""
    from omegaconf import OmegaConf

    places = [folder / "model" for folder in [*folders(words), configs_folder()]]
    path = next((place / f"{name}.yaml" for place in places if (place / f"{name}.yaml").is_file()), None)
    known = {file.stem for place in places for file in place.glob("*.yaml")}
    if path is None or name not in known:
        raise UserError(f'{field}: unknown model "{name}".{did_you_mean(str(name), known, shown=60)}')
    model = OmegaConf.merge(OmegaConf.structured(ModelConfig), OmegaConf.load(path))
    return OmegaConf.to_container(model, throw_on_missing=True)  # type: ignore[return-value]


def folders(words: Words) -> list[Path]:
    """The user's config folders, where their own losses and transforms lie too."""
    return [words.folder] if words.folder else []


def explain(error: BaseException) -> str:
    """One message of ours for an error of Hydra or OmegaConf."""
    text = "\n".join(str(e) for e in (error, error.__cause__) if e)
    if found := re.search(r"Could not find 'model/([^']*/[^']*)'", text):
        return (
            f'unknown model "{found[1]}": models are named as the files of configs/model/. '
            f"For any other one of the hub: weak=local weak.id={found[1]} (or strong)."
        )
    if found := re.search(r"Could not find '([\w@/.-]+?)/([^'/]*)'", text):
        group, name = found[1], found[2]
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE) or sorted(
            p.stem for p in (configs_folder() / group).glob("*.yaml")
        )
        return f'unknown {group} "{name}".{did_you_mean(name, options, shown=60)}'
    if found := re.search(r"Could not override '([^']+)'", text):
        field = found[1]
        known = re.search(r"Key '([^']+)' (?:is )?not in '(\w+)'", text)
        if known:
            return f'unknown field "{field}".{did_you_mean(known[1], known_fields(known[2]))}'
        if ruled := re.match(r"(loss|combine|select|control)\.args\.(\S+)", field):
            return (
                f"this {ruled[1]} has no argument {ruled[2]}: see `args` in its YAML (configs/{ruled[1]}/, or {ruled[1]}/ of your "
                "--config-dir)."
            )
        groups = [p.name for p in configs_folder().iterdir() if p.is_dir()]
        return f'unknown option or field "{field}".{did_you_mean(field, {*groups, *known_fields("Config")}, shown=40)}'
    if found := re.search(r"Key '([^']+)' (?:is )?not in '(\w+)'", text):
        where = re.search(r"full_key: (\S+)", text)
        return f'unknown field "{where[1] if where else found[1]}".{did_you_mean(found[1], known_fields(found[2]))}'
    if found := re.search(r"Value '(.*)' of type '(\w+)' could not be converted to (\w+)", text):
        where = re.search(r"full_key: (\S+)", text)
        return f"{where[1] if where else 'a field'}={found[1]}: not a valid {found[3].lower()}."
    if (
        "mismatched input" in text
        or "extraneous input" in text
        or "LexerNoViableAlt" in text
        or "no viable alternative" in text
    ):
        return f"cannot read an override: {text.splitlines()[0]} Quote a value with special characters: 'data.path=\"my file.jsonl\"'."
    if "Ambiguous value for argument" in text:
        return "several values in one field are a sweep: w2s train -m seed=0,1. A text with a comma needs quotes: 'data.text=\"a, b\"'."
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("See https", "Set the env"))
    ]
    return " ".join(dict.fromkeys(lines))


def known_fields(schema: str) -> list[str]:
    """Field names of one of the dataclasses of config.py."""
    from w2s_cli.config import schema as config

    found = getattr(config, schema, None)
    return config.field_names(found) if found is not None else []
