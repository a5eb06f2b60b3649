"""A search on the command line, in the grammar of Hydra's sweeps: which words are searched, and the configurations of trials.

* `strong.lr=interval(1e-6,1e-4)` has no values to run one by one, so it is searched; in whole numbers for a field of these, and with
  `int(…)`. `tag(log,…)` makes it logarithmic.
* A list or a range is a sweep as ever, unless it has the tag: `tag(search,choice(1,2,3))`, `tag(search,range(8,64,8))`.
* Each setting of the words that are swept beside a search has a search of its own. Seeds (`seed=0,1`, `seeds=2`) belong to each trial,
  whose score is their mean.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from w2s_cli.config.described import described
from w2s_cli.config.sweeps import Choice, Composed, choices, count, parse_words
from w2s_cli.config.words import Words, typed
from w2s_cli.config.words import key as name_of
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.search.space import Choices, Dimension, Interval, Params
from w2s_cli.values import fit

GROUP = "search"
TAGS = ("search", "log")
LONGEST = 100_000  # values of a range that is searched
EXAMPLE = "-m strong.lr='tag(log,interval(1e-6,1e-4))' search.trials=20"


@dataclass(frozen=True)
class Searched:
    """The words of a search."""

    space: list[Dimension]
    settings: list[list[str]]  # the swept words of each setting: [["loss=xent"], ["loss=logconf"]]
    fixed: list[str]  # all other words as they are typed, without those of the search and the seeds
    # (number of a setting, params of a trial) of several trials → the jobs of each, one a seed
    jobs: Callable[[Sequence[tuple[int, Params]]], list[list[Composed]]]


def searched_words(words: Words) -> list[Any]:
    """The parsed words that are searched.

    Raises:
        UserError: words of a search without such a word, or one without the number of trials.
    """
    parsed = parse_words(words.overrides) if words.multirun or _of_search(words) else []
    chosen = [word for word in parsed if word.is_sweep_override() and _is_searched(word.value())]
    if not chosen:
        if own := _of_search(words):
            raise UserError(
                f"{typed(own[0])} has no effect without a search: give a field an interval, for example w2s train {EXAMPLE}."
            )
        return []
    shown = ", ".join(typed(word.input_line) for word in chosen)
    if not any(name_of(word) == f"{GROUP}.trials" for word in words.overrides):
        raise UserError(
            f"{shown}: an interval has no values to run one by one. For a search, say how many trials: {GROUP}.trials=20; "
            "for a sweep, write range(START,STOP,STEP) or a list."
        )
    if not words.multirun:
        raise UserError(f"{shown}: a search has several jobs: add -m (w2s train -m …).")
    if words.by_hydra:
        raise UserError(f"{shown}: w2s runs a search itself; leave hydra/launcher and hydra/sweeper out.")
    for word in parsed:
        if word.get_key_element().startswith(f"{GROUP}.") and word.is_sweep_override():
            raise UserError(f"{typed(word.input_line)}: a search has one value of it.")
    return chosen


def _of_search(words: Words) -> list[str]:
    return [word for word in words.overrides if is_of_search(word)]


def is_of_search(word: str) -> bool:
    """Whether a word sets a field of the search itself."""
    return name_of(word).startswith(f"{GROUP}.")


def _is_searched(sweep: Any) -> bool:
    from hydra.core.override_parser.types import IntervalSweep

    return isinstance(sweep, IntervalSweep) or bool({"search", "log"} & set(getattr(sweep, "tags", ())))


def searched(
    words: Words,
    parsed: list[Any],
    compose: Callable[[list[str], list[list[Choice]], list[tuple[Choice, ...]]], list[list[Composed]]],
) -> Searched:
    """The search of a command line.

    Args:
        parsed: the result of `searched_words`.
        compose: (fixed words, the choices of each swept word, jobs) → the configurations of each job, one a seed.
    """
    space = [dimension(word) for word in parsed]
    others = [
        word
        for word in parse_words(words.overrides)
        if word.get_key_element() not in {w.get_key_element() for w in parsed}
    ]
    fixed = [word.input_line for word in others if not word.is_sweep_override()]
    grid = [word for word in others if word.is_sweep_override() and word.key_or_group != "seed"]
    seeds = [word for word in others if word.is_sweep_override() and word.key_or_group == "seed"]
    for word in [*grid, *seeds]:
        count(word, words.folder)
    settings = list(itertools.product(*(choices(word, words.folder) for word in grid)))
    of_trial = list(itertools.product(*(choices(word, words.folder) for word in seeds)))
    names = {d.name: word.get_key_element() for d, word in zip(space, parsed, strict=True)}

    def jobs(trials: Sequence[tuple[int, Params]]) -> list[list[Composed]]:
        tuples = [
            (*settings[setting], *(_choice(names[name], value) for name, value in params.items()), *seed)
            for setting, params in trials
            for seed in of_trial
        ]
        axes = [list({choice.word: choice for choice in axis}.values()) for axis in zip(*tuples, strict=True)]
        composed = compose(fixed, axes, tuples)
        return [list(itertools.chain(*composed[i : i + len(of_trial)])) for i in range(0, len(composed), len(of_trial))]

    plain = [typed(word) for word in fixed if not is_of_search(word) and name_of(word) not in ("seed", "seeds")]
    plain = [*(["--config-dir", str(words.folder)] if words.folder else []), *plain]
    return Searched(space, [[typed(choice.word) for choice in setting] for setting in settings], plain, jobs)


def dimension(word: Any) -> Dimension:
    """The part of the space that a parsed word gives.

    Raises:
        UserError: a seed, bounds or a step without a meaning, or an unknown tag.
    """
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep

    name, shown, sweep = name_of(word.input_line), typed(word.input_line), word.value()
    last = name.rpartition(".")[2]
    if last in ("seed", "seeds") or last.endswith("_seed"):
        raise UserError(
            f"{shown}: a search does not choose a seed, whose luck no other run would have. seeds=3 runs each trial with three, and their "
            "mean is its score."
        )
    for tag in sorted(set(sweep.tags) - set(TAGS)):
        raise UserError(f'{shown}: unknown tag "{tag}".{did_you_mean(tag, TAGS)}')
    log = "log" in sweep.tags
    if not isinstance(sweep, IntervalSweep | RangeSweep):
        if log:
            raise UserError(
                f"{shown}: a list has no logarithm; log belongs to an interval, tag(log,interval(LOW,HIGH))."
            )
        return Choices(name, tuple(dict.fromkeys(choice.word.partition("=")[2] for choice in choices(word, None))))
    if isinstance(sweep, IntervalSweep):
        low, high, step = sweep.start, sweep.end, None
    else:
        values = list(sweep.range()) if count(word, None) < LONGEST else []
        if not values:
            raise UserError(
                f"{shown}: a range of more than {LONGEST:,} values; write interval(LOW,HIGH), or int(interval(LOW,HIGH))."
            )
        low, high, step = min(values), max(values), abs(sweep.step)
    if isinstance(sweep, IntervalSweep) and _takes_whole_numbers(name, low, high):
        low, high = int(low), int(high)
    if not low < high:
        raise UserError(f"{shown}: the low end of an interval must be below its high end.")
    if log and low <= 0:
        raise UserError(f"{shown}: a logarithmic interval must begin above 0.")
    if log and step not in (None, 1):
        raise UserError(f"{shown}: a range with a step has no logarithm; write tag(log,interval(LOW,HIGH)).")
    return Interval(name, low, high, log, None if log else step)


def _takes_whole_numbers(name: str, low: float, high: float) -> bool:
    """Whether a declared field takes the bounds as whole numbers, and no number between them."""
    kind = next((field.kind for field in described(meanings=False) if field.name == name), None)
    if kind is None or int(low) != low or int(high) != high:
        return False
    whole: list[str] = []
    broken: list[str] = []
    for value, misfits in ((int(low), whole), (int(high), whole), (low + 0.5, broken)):
        fit(value, kind, name, misfits)
    return bool(broken) and not whole


def _choice(key: str, value: Any) -> Choice:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    text = f"{key}={value}"
    return Choice(text, OverridesParser.create().parse_override(text).value())


def of_words(params: Mapping[str, Any]) -> list[str]:
    """The words of a trial as they are typed."""
    return [f"{name}={value}" for name, value in params.items()]
