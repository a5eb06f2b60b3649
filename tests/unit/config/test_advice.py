"""A word that no stage reads is refused with the reason: a word that takes its place, stages with their own, or another group."""

from pathlib import Path

import pytest

from w2s_cli.cli import dispatch

SMALL = ["data=arithmetic", "debug=tiny"]
TEXTS = ["method=naive_text", *SMALL]
SPIN = ["method=spin", *SMALL]

REFUSED: dict[str, tuple[list[str], str]] = {
    "arguments of an objective that stages have": (
        [*SPIN, "objective.args.beta=0.5"],
        "objective.args.beta=0.5 has no effect with method=spin, whose stages have their own objective: change "
        "method.stages.round.objective.args.beta, or choose one for all of them, objective=NAME objective.args.beta=0.5.",
    ),
    "arguments of no objective": (["objective.args.beta=0.5"], "with method=naive: use it with objective=NAME"),
    "adapters of a classifier": (
        [*TEXTS, "train=lora"],
        "train=lora has no effect with method=naive_text: its trainings read tune.*; use tune.mode=lora.",
    ),
    "adapters of a classifier among pairs": ([*SPIN, "train=lora"], "use tune.mode=lora or preference.mode=lora."),
    "a probe of a language model": ([*TEXTS, "train=probe"], "its trainings read tune.*; w2s config tune shows them."),
    "label tokens of a language model": ([*TEXTS, "train=token_head"], "train=token_head has no effect"),
    "epochs of a classifier": ([*TEXTS, "train.epochs=2"], "its trainings read tune.*; use tune.epochs=2."),
    "rate of a classifier": ([*TEXTS, "train.lr=1e-3"], "its trainings read tune.*; use tune.lr=1e-3."),
    "rank of a classifier": ([*TEXTS, "train.lora.rank=4"], "use tune.lora.rank=4."),
    "epochs of a language model": (["tune.epochs=2"], "with method=naive: its trainings read train.*; use train.epoch"),
    "a grader beside another": (
        [*TEXTS, "data.grader=number", "grader=math"],
        "data.grader=number has no effect beside grader=math, which takes its place: give one of the two.",
    ),
    "a length beside another": (
        [*TEXTS, "data.new_tokens=5", "generation.max_new_tokens=7"],
        "has no effect beside generation.max_new_tokens=7",
    ),
    "a stop beside another": ([*TEXTS, "data.stop=[x]", "generation.stop=[y]"], "no effect beside generation.stop=[y]"),
    "misspelt argument of the recipe's grader": ([*TEXTS, "grader.args.cmpare=text"], 'Did you mean "compare"'),
    "labels in place of texts": (
        [*TEXTS, "labels=file", "labels.path=my.jsonl"],
        'no stage of method "naive_text" labels rows',
    ),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=[name.replace(" ", "-") for name in REFUSED])
def test_a_word_without_effect_is_refused_with_the_reason(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dispatch(["plan", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [*TEXTS, "data.grader=number", "grader.args.compare=text"],  # arguments of the data set's own grader
        [*TEXTS, "tune.mode=lora", "tune.lora.rank=4"],
        [*SPIN, "method.stages.round.objective.args.beta=0.5"],
        [*SPIN, "objective=spin", "objective.args.beta=0.5"],
        ["method=generative_finetuning", "debug=tiny", "train=lora", "tune.lr=1e-4"],
    ],
)
def test_what_the_advice_says_has_an_effect(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dispatch(["plan", *words]) == 0


def test_arguments_without_a_chosen_grader_are_those_of_the_data_sets_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*words: str) -> str:
        assert dispatch(["plan", *TEXTS, *words]) == 0
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    own, chosen = planned("grader.args.compare=text"), planned("grader=number", "grader.args.compare=text")
    assert own == chosen != planned()
