"""The configurations of a sweep, without the composition of each job from its files.

* Hydra takes 0.1 CPU seconds to compose a job. Here every swept choice of a group is composed once. A job's configuration is assembled
  from these, because groups fill disjoint parts of it; a swept field is then set on the result.
* A sweep with any other word (a group that fills other parts, added or deleted fields, dictionaries) is composed job by job. A test
  compares both ways.
* Jobs are counted before any is composed: `seed=range(0,1000000000)` is refused, not expanded.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from w2s_cli.config.schema import Config
from w2s_cli.config.words import GLOBAL_GROUPS, group_names, options, typed
from w2s_cli.errors import UserError

NOT_OF_A_SETTING = dict.fromkeys(("seed", "seeds", "launcher", "tracker", "remotes", "search"))

Compose = Callable[[list[str]], dict[str, Any]]


class Composed(NamedTuple):
    """One job: its configuration, and its words on the command line."""

    values: dict[str, Any]
    words: list[str]
    setting: dict[str, Any]  # the configuration as written, without seeds: the same for all seeds of a setting


@dataclass
class Choice:
    """One value of a swept word."""

    word: str  # loss=kl
    value: Any  # as a Python value


def compose_sweep(overrides: list[str], folder: Path | None, compose: Compose) -> list[Composed]:
    """All jobs in Hydra's order: the last word of the command line varies fastest."""
    parsed = parsed_words(overrides, folder)
    fixed = [word.input_line for word in parsed if not word.is_sweep_override()]
    axes = [choices(word, folder) for word in parsed if word.is_sweep_override()]
    return compose_jobs(fixed, axes, list(itertools.product(*axes)), folder, compose)


def compose_jobs(
    fixed: list[str], axes: list[list[Choice]], jobs: list[tuple[Choice, ...]], folder: Path | None, compose: Compose
) -> list[Composed]:
    """The jobs of a sweep, or some of them.

    Args:
        fixed: the words that all jobs share.
        axes: the choices of each swept word.
        jobs: each its choice of every swept word.
    """
    words = [[*fixed, *(choice.word for choice in job)] for job in jobs]
    groups = group_names(folder)
    if all(_fills_its_own(axis[0], groups) or all(_is_field(choice, groups) for choice in axis) for axis in axes):
        values = _assembled(fixed, axes, jobs, compose, groups)
    else:
        values = [compose(chosen) for chosen in words]
    return [unresolved(config, chosen) for config, chosen in zip(values, words, strict=True)]


def unresolved(config: dict[str, Any], words: list[str]) -> Composed:
    """A job whose references are not resolved yet."""
    return Composed(config, [typed(word) for word in words], {**config, **NOT_OF_A_SETTING})


def parsed_words(overrides: list[str], folder: Path | None) -> list[Any]:
    """The words parsed by Hydra's grammar.

    Raises:
        UserError: the sweep has more than `most_jobs` jobs, or a word has no values to count.
    """
    parsed = parse_words(overrides)
    counts = {typed(word.input_line): count(word, folder) for word in parsed if word.is_sweep_override()}
    jobs, limit = math.prod(counts.values()), _most_jobs(parsed)
    if jobs > limit:
        most = max(counts, key=lambda word: counts[word])
        refuse_many(jobs, limit, f"{counts[most]:,} values of {most}")
    return parsed


def parse_words(overrides: list[str]) -> list[Any]:
    """The words parsed by Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed: list[Any] = OverridesParser.create().parse_overrides(overrides)
    return parsed


def _most_jobs(parsed: Sequence[Any]) -> int:
    """The limit that a word of the command line sets, else the default; a value that is no number is refused later."""
    values = [word.value() for word in parsed if word.key_or_group == "most_jobs" and not word.is_sweep_override()]
    return values[-1] if values and isinstance(values[-1], int) else Config.most_jobs


def refuse_many(jobs: int, limit: int, because: str) -> NoReturn:
    """The refusal (UserError) of a sweep with more jobs than the limit."""
    raise UserError(
        f"this sweep has {jobs:,} jobs ({because}), more than most_jobs={limit}: split it, or raise the limit, most_jobs={jobs}."
    )


def count(override: Any, folder: Path | None) -> int:
    """The number of values of a swept word, without expanding them.

    Raises:
        UserError: no values, or an interval.
    """
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep

    word, sweep = typed(override.input_line), override.value()
    if isinstance(sweep, IntervalSweep):
        raise UserError(f"{word}: an interval has no values to run one by one; write range(START,STOP,STEP) or a list.")
    if isinstance(sweep, Glob):
        number = len(sweep.filter(options(override.key_or_group, folder)))
    elif isinstance(sweep, RangeSweep):
        if not sweep.step:
            raise UserError(f"{word}: the step of a range must not be 0.")
        number = max(0, math.ceil((sweep.stop - sweep.start) / sweep.step))
    else:
        number = len(sweep.list)
    if not number:
        raise UserError(f"{word}: the sweep has no values; write a list, FIELD=A,B, or a range with START below STOP.")
    return number


def choices(override: Any, folder: Path | None) -> list[Choice]:
    """The values of a swept word."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob

    key, sweep = override.get_key_element(), override.value()
    if isinstance(sweep, Glob):
        return [Choice(f"{key}={name}", name) for name in sweep.filter(options(override.key_or_group, folder))]
    if override.is_range_sweep() and not sweep.shuffle:
        return [Choice(f"{key}={number}", number) for number in sweep.range()]
    parser = OverridesParser.create()
    words = [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [Choice(word, parser.parse_override(word).value()) for word in words]


def _fills_its_own(choice: Choice, groups: set[str]) -> bool:
    """Whether the word chooses a group that fills only its own part of the configuration."""
    group = choice.word.partition("=")[0].partition("@")[0]
    return group in groups and group not in GLOBAL_GROUPS


def _is_field(choice: Choice, groups: set[str]) -> bool:
    """Whether the word sets one field of the configuration; `++` (words.rewrite) sets it where no file has it."""
    name = choice.word.partition("=")[0].removeprefix("++")
    return (
        name.replace(".", "").replace("_", "").isalnum() and name not in groups and not isinstance(choice.value, dict)
    )


def _assembled(
    fixed: list[str], axes: list[list[Choice]], jobs: list[tuple[Choice, ...]], compose: Compose, groups: set[str]
) -> list[dict[str, Any]]:
    """All jobs, each from the composition of the first job with its own groups and then its own fields."""
    first = [axis[0].word for axis in axes]
    base = compose([*fixed, *first])
    parts: dict[str, dict[str, Any]] = {}
    for number, axis in enumerate(axes):
        if _fills_its_own(axis[0], groups):
            for choice in axis:
                chosen = [*first[:number], choice.word, *first[number + 1 :]]
                parts[choice.word] = base if choice is axis[0] else compose([*fixed, *chosen])
    configs = []
    for job in jobs:
        config = dict(base)
        for choice in job:
            if choice.word in parts:
                place = _place(choice.word)
                config[place] = parts[choice.word][place]
        for choice in job:
            if choice.word not in parts:
                config = _with(config, choice.word.partition("=")[0].removeprefix("++").split("."), choice.value)
        configs.append(config)
    return configs


def _place(word: str) -> str:
    """The part of the configuration that a group fills: `model@weak=gpt2` → weak."""
    group = word.partition("=")[0]
    return group.partition("@")[2] or group


def _with(config: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy of nested dictionaries with another value of the field at `path`."""
    name, *rest = path
    return {**config, name: _with(config[name], rest, value) if rest else value}
