"""The composition of a command line into plain configurations, by Hydra.

* All commands have one primary config. Hydra merges files and words into a plain dictionary of the defaults. The result is checked once
  against the types of `schema.py`; one message lists all wrong fields.
* A single run is composed here, a sweep in `sweeps.py`; `seeds=n` makes n jobs of each. All give one list of configurations, so one
  scheduler has the union of all stages. A search composes its trials batch by batch (`searching.py`).
* With a Hydra launcher or sweeper (`hydra/launcher=joblib`) hydra.main runs each job by itself.
* Errors of Hydra become a UserError.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from w2s_cli.config.explain import explain, refuse_unknown, unfitting
from w2s_cli.config.methods import with_own_groups, with_stages
from w2s_cli.config.references import resolved
from w2s_cli.config.schema import Config, ModelConfig, defaults
from w2s_cli.config.searching import Searched, is_of_search, searched, searched_words
from w2s_cli.config.sweeps import (
    Choice,
    Compose,
    Composed,
    compose_jobs,
    compose_sweep,
    parsed_words,
    refuse_many,
    unresolved,
)
from w2s_cli.config.words import (
    ROLES_FROM_MODELS,
    UNNAMED,
    Words,
    chosen_files,
    key,
    options,
    parse,
    refuse_hidden,
    typed,
)
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import check_mapping, configs_folder
from w2s_cli.values import MISSING, fit_fields

Task = Callable[[list[Composed], list[Path]], int]
SearchTask = Callable[[Searched, list[Path]], int]


class JobFailed(Exception):  # noqa: N818 - carries an exit code through Hydra
    """A job of a sweep by a Hydra launcher, perhaps in another process, ended with another exit code than 0."""


def run(arguments: list[str], task: Task, search: SearchTask | None = None) -> int:
    """Compose the configurations of a command line and call `task(jobs, config folders)`; returns the exit code of `task`.

    A command line with a word that is searched calls `search(the search, config folders)` instead.
    """
    from hydra.core.config_store import ConfigStore

    words = parse(arguments)
    refuse_unknown(words)
    for path in chosen_files(words):
        check_mapping(path)
    ConfigStore.instance().store(name="schema", node=defaults())
    with _explained(words):
        chosen = searched_words(words)
        if chosen and search is None:
            raise UserError(f"{typed(chosen[0].input_line)}: only w2s train searches, and w2s plan shows its stages.")
        if words.multirun and words.by_hydra:
            return _by_hydra(words, task)
        if not chosen:
            settings = composed(words)
            _refuse_many_seeds(settings)
            jobs = [seeded for job in settings for seeded in of_seeds(job, words)]
        else:
            asked = searched(words, chosen, lambda *of_jobs: _of_trials(words, *of_jobs))
    if chosen and search is not None:
        return search(asked, folders(words))
    return task(jobs, folders(words))


@contextmanager
def _explained(words: Words) -> Iterator[None]:
    """Errors of Hydra, OmegaConf and YAML as UserErrors."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, words.folder)) from error
    except ValueError as error:
        raise UserError(explain(error, words.folder)) from error
    except RecursionError as error:
        raise UserError(
            "the configuration is nested too deeply: a YAML file, or a value on the command line."
        ) from error
    except YAMLError as error:
        raise UserError(f"a YAML file cannot be read: {' '.join(str(error).split())}") from error


def _of_trials(
    words: Words, fixed: list[str], axes: list[list[Choice]], jobs: list[tuple[Choice, ...]]
) -> list[list[Composed]]:
    """The configurations of some jobs of a search, each one a seed; their words are those of a run without the search."""
    with _explained(words), _composer(words) as compose:
        made = compose_jobs(fixed, axes, jobs, words.folder, compose)
        plain = [job._replace(words=[word for word in job.words if not is_of_search(word)]) for job in made]
        return [of_seeds(job, words) for job in plain]


def composed(words: Words) -> list[Composed]:
    """The jobs of a command line, by Hydra's compose API (hydra.main would compose each job twice)."""
    with _composer(words) as compose:
        if words.multirun:
            return compose_sweep(words.overrides, words.folder, compose)
        return [unresolved(compose(words.overrides), words.overrides)]


@contextmanager
def _composer(words: Words) -> Iterator[Compose]:
    """Overrides → a plain configuration, by Hydra."""
    import hydra
    from omegaconf import OmegaConf

    search = search_path(words)

    def compose(overrides: list[str]) -> dict[str, Any]:
        container: Any = OmegaConf.to_container(hydra.compose("config", overrides=[*search, *overrides]))
        return container  # type: ignore[no-any-return]

    with hydra.initialize_config_dir(config_dir=str(configs_folder()), version_base="1.3"):
        yield compose


def search_path(words: Words) -> list[str]:
    """Hydra's word for the user's config folder."""
    quoted = str(words.folder).replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']"] if words.folder else []


def _by_hydra(words: Words, task: Task) -> int:
    """A multirun by a Hydra launcher or sweeper: the jobs run one by one or in parallel, each with its own graph."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    # Hydra expands a sweep of any size, so the jobs are counted first.
    parsed_words([word for word in words.overrides if not key(word).startswith("hydra")], words.folder)

    def one_job(config: Any) -> None:
        values = OmegaConf.to_container(OmegaConf.masked_copy(config, [name for name in config if name != "hydra"]))
        job = unresolved(values, list(HydraConfig.get().overrides.task))  # type: ignore[arg-type]
        code = task(of_seeds(job, words), folders(words))
        if code:
            raise JobFailed(code)

    chosen = ["--config-dir", str(words.folder)] if words.folder else []
    sys.argv = ["w2s", "--multirun", *chosen, *words.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions pass through; explain() makes their messages
    try:
        hydra.main(config_path=str(configs_folder()), config_name="config", version_base="1.3")(one_job)()
    except JobFailed as failed:
        return int(failed.args[0])
    return 0


def _refuse_many_seeds(settings: list[Composed]) -> None:
    """Refuse (UserError) settings × seeds above `most_jobs`; values of another type are refused later."""
    seeds, limit = [job.values["seeds"] for job in settings], settings[0].values["most_jobs"]
    jobs = sum(number if isinstance(number, int) else 1 for number in seeds)
    if len(settings) > 1 and isinstance(limit, int) and jobs > limit:
        refuse_many(jobs, limit, f"{len(settings):,} settings with the seeds of seeds=")


def of_seeds(job: Composed, words: Words) -> list[Composed]:
    """The finished configurations of a composed job: one, or with `seeds=n` one for each of the seeds 0 … n-1.

    References are resolved for each seed: `labels.path=weak-${seed}.jsonl`.
    """
    first = finished(job.values, job.words, words)
    if first["seeds"] is None:
        return [job._replace(values=first)]
    seeds = ({**job.values, "seed": seed} for seed in range(first["seeds"]))
    return [job._replace(values=finished(values, job.words, words)) for values in seeds]


def finished(values: dict[str, Any], own: list[str], words: Words) -> dict[str, Any]:
    """A composed configuration with its references resolved, checked and converted to the types of its fields.

    The stages of a method have references to whole groups (`${strong}`). They are resolved last, so that they copy converted values.

    Args:
        own: the words of this job; a sweeper of Hydra may add some to those of the command line.
        words: of the command line.
    """
    given = {key(word) for word in own}
    values = {**values, **_models_of_data(values, given, words)}
    written = {
        **values,
        "pretrain": values["pretrain"] if _chosen(values["pretrain"]) else None,
    }
    for role in ROLES_FROM_MODELS:
        if f"{role}.lr" in given:
            written[role] = {**written[role], "lr_source": "given"}
        _refuse_borrowed_name(role, values[role]["name"], given)
        _refuse_revision(role, values[role], given)
    if written["control"].get("self_pair") is True:
        written["strong"] = written["weak"]
    written["method"] = with_stages(written, [*folders(words), configs_folder()])
    misfits: list[str] = []
    config = fit_fields(resolved(written), Config, "", misfits)
    if misfits:
        raise UserError(unfitting(misfits, words))
    refuse_hidden(words, config)
    stages = resolved({**config, "method": written["method"]})["method"]["stages"]
    config["method"]["stages"] = with_own_groups(stages, config, misfits)
    if misfits:
        raise UserError(unfitting(misfits, words))
    config["ladder"] = [named_model("ladder", name, words) for name in config["ladder"]]
    if isinstance(config["ensemble"], list):
        config["ensemble"] = [named_model("ensemble", name, words) for name in config["ensemble"]]
    return config


def _models_of_data(values: Mapping[str, Any], given: set[str], words: Words) -> dict[str, Any]:
    """The models that the data set names, for each role that no word chooses; single fields that words set stay as they are."""
    models = values["data"]["models"]
    chosen = {}
    for role in ROLES_FROM_MODELS:
        if not isinstance(models, Mapping) or role not in models or given & {role, f"{role}.path", f"{role}.id"}:
            continue
        own = {name: value for name, value in values[role].items() if f"{role}.{name}" in given}
        chosen[role] = {**named_model(f"data.models.{role}", models[role], words), **own}
    return chosen


def _refuse_borrowed_name(role: str, name: Any, given: set[str]) -> None:
    """Refuse (UserError) another model under the name, and with the learning rate, of a model of configs/model/."""
    other = next((field for field in (f"{role}.path", f"{role}.id") if field in given), None)
    if other and name != UNNAMED and f"{role}.name" not in given:
        raise UserError(
            f"{other}=… takes another model than {role}={name}, under its name and with its learning rate: use {role}={UNNAMED} {other}=…, "
            f"or say its name, {role}.name=…"
        )


def _refuse_revision(role: str, model: dict[str, Any], given: set[str]) -> None:
    """Refuse (UserError) a revision of a model in a folder, which has none."""
    if f"{role}.revision" in given and model["path"]:
        raise UserError(
            f"{role}.revision has no effect on {model['name']}, a model in a folder: a revision belongs to a model of the hub."
        )


def _chosen(pretrain: Any) -> bool:
    return not isinstance(pretrain, dict) or pretrain.get("name") != MISSING


def named_model(field: str, name: Any, words: Words) -> dict[str, Any]:
    """The settings of one model of a list on the command line (ladder=[gpt2,gpt2-medium]), from configs/model/."""
    from omegaconf import OmegaConf

    places = [folder / "model" for folder in [*folders(words), configs_folder()]]
    path = next((place / f"{name}.yaml" for place in places if (place / f"{name}.yaml").is_file()), None)
    names = options("model", words.folder)
    if path is None or name not in names:
        raise UserError(f'{field}: unknown model "{name}".{did_you_mean(str(name), names, at_most=60)}')
    misfits: list[str] = []
    check_mapping(path)
    written: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    model = fit_fields(written, ModelConfig, "", misfits)
    if misfits:
        raise UserError("\n".join(f"{path}: {misfit}" for misfit in misfits))
    return model


def folders(words: Words) -> list[Path]:
    """The user's config folders, which can have losses, rules and transforms too."""
    return [words.folder] if words.folder else []
