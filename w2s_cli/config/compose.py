"""From the command line to plain configurations: the part that drives Hydra.

* One primary config for all commands. Hydra merges files and words into a plain dictionary of the defaults; the result is checked once,
  against the types of `schema.py`, with all wrong fields in one message.
* A single run is composed here and a sweep in `sweeps.py`: one list of configurations, so that one scheduler sees the union of all
  stages. With a launcher or sweeper of Hydra's (`hydra/launcher=joblib`) the multirun goes through hydra.main: each job alone.
* Hydra's errors become ours.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from w2s_cli.config.explain import explain, unfitting
from w2s_cli.config.methods import stages_of
from w2s_cli.config.references import resolved
from w2s_cli.config.schema import Config, ModelConfig, defaults
from w2s_cli.config.sweeps import Composed, compose_sweep, parsed_words
from w2s_cli.config.words import Words, key, parse, refuse_hidden, typed
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import configs_folder
from w2s_cli.values import MISSING, fit_fields

Task = Callable[[list[Composed], list[Path]], int]


class JobFailed(Exception):  # noqa: N818 - carries an exit code through Hydra
    """A job of a sweep that a launcher of Hydra's runs, perhaps in another process, did not end with 0."""


def run(arguments: list[str], task: Task) -> int:
    """Compose the configurations of a command line and hand them to `task(jobs, config folders)`; returns its exit code."""
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    words = parse(arguments)
    ConfigStore.instance().store(name="schema", node=defaults())
    try:
        if words.multirun and words.by_hydra:
            return _by_hydra(words, task)
        jobs = [Composed(finished(job.values, words), job.words) for job in composed(words)]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, words.folder)) from error
    except ValueError as error:
        raise UserError(explain(error, words.folder)) from error
    except YAMLError as error:
        raise UserError(f"a YAML file cannot be read: {' '.join(str(error).split())}") from error
    return task(jobs, folders(words))


def composed(words: Words) -> list[Composed]:
    """The jobs of a command line, by Hydra's compose API: hydra.main would compose each twice."""
    import hydra
    from omegaconf import OmegaConf

    search = [f"hydra.searchpath=[file://{words.folder}]"] if words.folder else []

    def compose(overrides: list[str]) -> dict[str, Any]:
        made: Any = OmegaConf.to_container(hydra.compose("config", overrides=[*search, *overrides]))
        return made  # type: ignore[no-any-return]

    with hydra.initialize_config_dir(config_dir=str(configs_folder()), version_base="1.3"):
        if words.multirun:
            return compose_sweep(words.overrides, words.folder, compose)
        return [Composed(compose(words.overrides), [typed(word) for word in words.overrides])]


def _by_hydra(words: Words, task: Task) -> int:
    """A multirun by a launcher or sweeper of Hydra's: one job after another or side by side, blind to what they share."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    # Hydra would make the jobs of any sweep: count them first.
    parsed_words([word for word in words.overrides if not key(word).startswith("hydra")], words.folder)

    def one_job(config: Any) -> None:
        values = OmegaConf.to_container(OmegaConf.masked_copy(config, [name for name in config if name != "hydra"]))
        own = [typed(word) for word in HydraConfig.get().overrides.task]
        code = task([Composed(finished(values, words), own)], folders(words))  # type: ignore[arg-type]
        if code:
            raise JobFailed(code)

    chosen = ["--config-dir", str(words.folder)] if words.folder else []
    sys.argv = ["w2s", "--multirun", *chosen, *words.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through: their messages are made here
    try:
        hydra.main(config_path=str(configs_folder()), config_name="config", version_base="1.3")(one_job)()
    except JobFailed as failed:
        return int(failed.args[0])
    return 0


def finished(values: dict[str, Any], words: Words) -> dict[str, Any]:
    """A composed configuration with its references resolved, checked and converted to the types of its fields.

    The stages of a method repeat whole parts (`${strong}`); they are resolved last, so that they repeat converted values.
    """
    method = values["method"]
    written = {
        **values,
        "pretrain": values["pretrain"] if _chosen(values["pretrain"]) else None,
        "method": {**method, "stages": stages_of(method, [*folders(words), configs_folder()])},
    }
    if written["control"].get("self_pair") is True:
        written["strong"] = written["weak"]
    misfits: list[str] = []
    made = fit_fields(resolved(written), Config, "", misfits)
    if misfits:
        raise UserError(unfitting(misfits, words))
    refuse_hidden(words, made)
    made["method"]["stages"] = resolved({**made, "method": written["method"]})["method"]["stages"]
    made["ladder"] = [named_model("ladder", name, words) for name in made["ladder"]]
    if isinstance(made["ensemble"], list):
        made["ensemble"] = [named_model("ensemble", name, words) for name in made["ensemble"]]
    return made


def _chosen(pretrain: Any) -> bool:
    return not isinstance(pretrain, dict) or pretrain.get("name") != MISSING


def named_model(field: str, name: Any, words: Words) -> dict[str, Any]:
    """The settings of one model of a list on the command line (ladder=[gpt2,gpt2-medium]), from configs/model/."""
    from omegaconf import OmegaConf

    places = [folder / "model" for folder in [*folders(words), configs_folder()]]
    path = next((place / f"{name}.yaml" for place in places if (place / f"{name}.yaml").is_file()), None)
    known = {file.stem for place in places for file in place.glob("*.yaml")}
    if path is None or name not in known:
        raise UserError(f'{field}: unknown model "{name}".{did_you_mean(str(name), known, shown=60)}')
    misfits: list[str] = []
    written: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    model = fit_fields(written, ModelConfig, "", misfits)
    if misfits:
        raise UserError("\n".join(f"{path}: {misfit}" for misfit in misfits))
    return model


def folders(words: Words) -> list[Path]:
    """The user's config folders, where their own losses and transforms lie too."""
    return [words.folder] if words.folder else []
