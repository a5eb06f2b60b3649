"""A data set can name the models of a run that chooses none: the bundled problems need others than the bundled classifiers."""

import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
TASK = ["method=naive_text", "data=arithmetic"]


def trained(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Stage → what its line of the plan says about its training."""
    lines = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return {words[0]: words[2] for words in lines if len(words) == 3 and words[1] == "tune"}


@pytest.mark.parametrize(
    ("words", "weak", "strong"),
    [
        ([], "arithmetic-s weak_train lr 0.002", "arithmetic-l strong_train lr 0.0001"),
        (["weak=arithmetic-xs"], "arithmetic-xs weak_train lr 0.003", "arithmetic-l strong_train lr 0.0001"),
        (["weak.lr=0.5"], "arithmetic-s weak_train lr 0.5", "arithmetic-l strong_train lr 0.0001"),
        (
            ["strong=arithmetic-s", "strong.lr=1e-3"],
            "arithmetic-s weak_train lr 0.002",
            "arithmetic-s strong_train lr 0.001",
        ),
        (
            ["data.models={weak: arithmetic-xs}"],
            "arithmetic-xs weak_train lr 0.003",
            "arithmetic-l strong_train lr 0.0001",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_models_of_the_data_set_fill_the_roles_that_no_word_chooses(
    w2s_inside: Run, words: list[str], weak: str, strong: str
) -> None:
    stages = trained(w2s_inside("plan", *TASK, *words))
    assert stages["weak"].startswith(weak)
    assert stages["ceiling"].startswith(strong)


def test_they_fill_the_other_role_of_a_sweep_too(w2s_inside: Run) -> None:
    planned = w2s_inside("plan", "-m", *TASK, "strong=arithmetic-s,arithmetic-l").stdout
    assert "wordnet" not in planned
    assert "arithmetic-s weak_train" in planned


def test_an_unknown_model_is_named_with_its_field(w2s_inside: Run) -> None:
    done = w2s_inside("plan", *TASK, "data.models.weak=arithmetic-x", code=2)
    assert 'data.models.weak: unknown model "arithmetic-x". Did you mean' in done.stderr
