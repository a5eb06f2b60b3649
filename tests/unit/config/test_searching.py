"""The words of a search: the space that they mean, the jobs of its trials, and the refusal of words without a meaning."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.config.test_sweeps import configurations
from w2s_cli.config import compose
from w2s_cli.config.searching import Searched
from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError
from w2s_cli.search.space import Choices, Interval

TRIALS = "search.trials=5"


def search_of(*words: str) -> Searched:
    """The search that a command line means."""
    found: list[Searched] = []

    def take(searched: Searched, folders: list[Path]) -> int:
        found.append(searched)
        return 0

    compose.run(list(words), no_sweep, take)
    return found[0]


def no_sweep(jobs: list[Composed], folders: list[Path]) -> int:
    raise AssertionError("it is a search")


@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("strong.lr=interval(1e-6,1e-4)", Interval("strong.lr", 1e-6, 1e-4)),
        ("strong.lr=tag(log,interval(1e-6,1e-4))", Interval("strong.lr", 1e-6, 1e-4, log=True)),
        ("strong.lr=tag(search,log,interval(1e-6,1e-4))", Interval("strong.lr", 1e-6, 1e-4, log=True)),
        ("strong.lr=interval(1,2)", Interval("strong.lr", 1.0, 2.0)),
        ("student.batch_size=interval(8,64)", Interval("student.batch_size", 8, 64)),
        ("student.batch_size=int(tag(log,interval(8,64)))", Interval("student.batch_size", 8, 64, log=True)),
        ("student.batch_size=tag(search,range(8,65,8))", Interval("student.batch_size", 8, 64, step=8)),
        ("student.epochs=tag(search,range(1,3,0.5))", Interval("student.epochs", 1.0, 2.5, step=0.5)),
        ("loss=tag(search,choice(xent,logconf))", Choices("loss", ("xent", "logconf"))),
        ("loss.args.center=tag(search,choice(0.25,0.5))", Choices("loss.args.center", ("0.25", "0.5"))),
        ("method.stages.student.train.lr=interval(0.1,0.2)", Interval("method.stages.student.train.lr", 0.1, 0.2)),
    ],
)
def test_a_word_of_hydras_grammar_is_a_part_of_the_space(word: str, dimension: Any) -> None:
    [found] = search_of("-m", word, TRIALS).space
    assert found == dimension
    assert isinstance(dimension, Choices) or type(found.low) is type(dimension.low)  # type: ignore[union-attr]


def test_a_trial_has_the_configuration_of_a_run_with_its_words() -> None:
    search = search_of(
        "-m",
        "loss=xent,logconf",
        "strong.lr=interval(1e-6,1e-4)",
        "student.batch_size=interval(8,64)",
        TRIALS,
        "seed=0,1",
    )
    assert search.settings == [["loss=xent"], ["loss=logconf"]]
    params = {"strong.lr": 3e-5, "student.batch_size": 16}
    trials = search.jobs([(1, params), (0, {**params, "strong.lr": 2e-5})])
    for trial, words in zip(
        trials, (["loss=logconf", "strong.lr=3e-05"], ["loss=xent", "strong.lr=2e-05"]), strict=True
    ):
        single = [configurations(*words, "student.batch_size=16", f"seed={seed}")[0] for seed in (0, 1)]
        assert [{**job.values, "search": None} for job in trial] == [{**values, "search": None} for values in single]
        assert [job.words for job in trial] == [[*words, "student.batch_size=16", f"seed={seed}"] for seed in (0, 1)]
        assert trial[0].setting == trial[1].setting


def test_seeds_belong_to_each_trial() -> None:
    search = search_of("-m", "strong.lr=interval(1e-6,1e-4)", TRIALS, "seeds=3", "weak=wordnet-s")
    [trial] = search.jobs([(0, {"strong.lr": 3e-5})])
    assert [job.values["seed"] for job in trial] == [0, 1, 2]
    assert search.fixed == ["weak=wordnet-s"]  # with which the best trial can be run again


def test_a_searched_group_has_the_fields_of_its_file() -> None:
    search = search_of("-m", "loss=tag(search,choice(xent,logconf))", TRIALS)
    trials = search.jobs([(0, {"loss": "logconf"}), (0, {"loss": "xent"})])
    assert [job.values["loss"]["name"] for [job] in trials] == ["logconf", "xent"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "strong.lr=interval(1e-6,1e-4)"], "say how many trials: search.trials=20"),
        (["strong.lr=interval(1e-6,1e-4)", TRIALS], "add -m"),
        (["strong.lr=interval(1e-6,1e-4)"], "add -m"),
        (["-m", "strong.lr=1e-5,1e-4", TRIALS], "search.trials=5 has no effect without a search"),
        (["search.batch=2"], "search.batch=2 has no effect without a search"),
        (["-m", "seed=interval(0,9)", TRIALS], "does not choose a seed"),
        (["-m", "student.seed=tag(search,choice(0,1))", TRIALS], "does not choose a seed"),
        (["-m", "data.test_seed=interval(0,9)", TRIALS], "does not choose a seed"),
        (["-m", "strong.lr=interval(1e-4,1e-6)", TRIALS], "low end of an interval must be below"),
        (["-m", "strong.lr=interval(1e-4,1e-4)", TRIALS], "low end of an interval must be below"),
        (["-m", "strong.lr=tag(log,interval(0,1))", TRIALS], "must begin above 0"),
        (["-m", "loss=tag(log,choice(xent,kl))", TRIALS], "a list has no logarithm"),
        (["-m", "strong.lr=tag(log,range(1,9,2))", TRIALS], "a range with a step has no logarithm"),
        (["-m", "strong.lr=tag(serch,interval(1,2))", TRIALS], 'unknown tag "serch". Did you mean "search"'),
        (["-m", "student.batch_size=tag(search,range(0,1000000000))", TRIALS], "a range of more than 100,000 values"),
        (["-m", "strong.lr=interval(1,2)", "search.trials=5,6"], "a search has one value of it"),
        (["-m", "strong.lr=interval(1,2)", TRIALS, "hydra/launcher=basic"], "leave hydra/launcher"),
    ],
)
def test_words_without_a_meaning_in_a_search_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        search_of(*words)
    assert message in str(refused.value)


def test_only_a_command_that_trains_searches() -> None:
    with pytest.raises(UserError, match="only w2s train searches"):
        compose.run(["-m", "strong.lr=interval(1e-6,1e-4)", TRIALS], no_sweep)
