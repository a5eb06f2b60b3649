"""Sweeps: the same configurations as Hydra composes one by one, pairs left out by rule, loops written out."""

from pathlib import Path
from typing import Any

import pytest

from tests.inside import clear_hydra
from w2s_cli.config import compose, pairs
from w2s_cli.config.sweeps import Composed
from w2s_cli.config.words import parse
from w2s_cli.errors import UserError
from w2s_cli.pipeline.method import stages_of
from w2s_cli.pipeline.reads import Recorded


def configurations(*words: str) -> list[dict[str, Any]]:
    """The configurations that a command line means."""
    found: list[dict[str, Any]] = []

    def take(jobs: list[Composed], folders: list[Path]) -> int:
        found.extend(job.values for job in jobs)
        return 0

    compose.run(list(words), take)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["weak=wordnet-xs,wordnet-s", "strong=gpt2,gpt2-medium", "seed=0,1"],
        ["loss=logconf", "loss.args.alpha=0.5,0.75", "strong=wordnet-m,wordnet-l", "strong.lr=1e-4,3e-4"],
        ["data=sciq,boolq", "seed=range(0,3)", "train=lora,finetune"],
        ["method=bootstrapping", "ladder=[wordnet-s],[wordnet-s,wordnet-m]"],
        ["control=self_pair,none", "weak=wordnet-xs,wordnet-s"],
        ["debug=tiny", "loss=xent,logconf", "train.labels=soft,hard"],
    ],
)
def test_a_sweep_has_the_configurations_that_single_runs_have(words: list[str]) -> None:
    def values(word: str) -> list[str]:
        name, _, value = word.partition("=")
        if value.startswith("range"):
            return [f"{name}={number}" for number in range(3)]
        if value.startswith("["):
            return [f"{name}={one}" for one in value.replace("],[", "]|[").split("|")]
        return [f"{name}={one}" for one in value.split(",")]

    combinations: list[list[str]] = [[]]
    for word in words:
        combinations = [[*before, one] for before in combinations for one in values(word)]
    single = [configurations(*combination)[0] for combination in combinations]
    assert configurations("-m", *words) == single


def test_a_group_that_reaches_into_others_can_be_swept(tmp_path: Path) -> None:
    (tmp_path / "debug").mkdir()
    (tmp_path / "debug" / "small.yaml").write_text("# @package _global_\ndata: {limits: {test: 7}}\n")
    tiny, small = configurations("-m", f"--config-dir={tmp_path}", "debug=tiny,small", "seed=0")
    assert [config["data"]["limits"]["test"] for config in (tiny, small)] == [64, 7]
    assert [config["train"]["epochs"] for config in (tiny, small)] == [1, 2]


def test_pairs_are_left_out_by_size() -> None:
    words = ["weak=wordnet-xs,wordnet-l", "strong=wordnet-xs,wordnet-l"]
    sized = configurations("-m", *words, "pairs=upper")
    for config in sized:
        for role in ("weak", "strong"):
            config[role]["parameters"] = {"wordnet-xs": 0.4, "wordnet-l": 9.0}[config[role]["name"]]
    kept, dropped = pairs.keep([Composed(config, [], {}) for config in sized])
    assert [(c["weak"]["name"], c["strong"]["name"]) for c, *_ in kept] == [
        ("wordnet-xs", "wordnet-xs"),
        ("wordnet-xs", "wordnet-l"),
        ("wordnet-l", "wordnet-l"),
    ]
    assert dropped == 1
    strict, _ = pairs.keep([Composed({**config, "pairs": "strict"}, [], {}) for config in sized])
    assert [(c["weak"]["name"], c["strong"]["name"]) for c, *_ in strict] == [("wordnet-xs", "wordnet-l")]


def test_a_rule_for_pairs_needs_sizes_and_leaves_some_pair() -> None:
    config = configurations("pairs=strict", "weak=local", "weak.path=x")[0]
    config["weak"]["parameters"] = None
    with pytest.raises(UserError, match=r"weak\.parameters=MILLIONS"):
        pairs.keep([Composed(config, [], {})])
    config["weak"]["parameters"] = config["strong"]["parameters"] = 5.0
    with pytest.raises(UserError, match="leaves no pair"):
        pairs.keep([Composed(config, [], {})])


def config_with(stages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    config = configurations()[0]
    return {**config, **fields, "method": {"name": "test", "stages": stages}}


def test_a_loop_is_written_out_with_its_items_turns_and_references() -> None:
    stages = {
        "hop": {
            "foreach": "ladder",
            "kind": "finetune",
            "model": "{item}",
            "labels": "said[{prev}]",
            "first": {"labels": "weak"},
        },
        "said": {"foreach": 2, "kind": "label", "model": "hop[{i}]", "rows": "test", "member": "{member}"},
        "all": {"kind": "combine", "labels": ["weak", "said[*]"], "last": "said[last]"},
    }
    assert stages_of(Recorded(config_with(stages, ladder=["a", "b"]))) == {
        "hop[0]": {"kind": "finetune", "model": "a", "labels": "weak"},
        "hop[1]": {"kind": "finetune", "model": "b", "labels": "said[0]"},
        "said[0]": {"kind": "label", "model": "hop[0]", "rows": "test", "member": 0},
        "said[1]": {"kind": "label", "model": "hop[1]", "rows": "test", "member": 0},
        "all": {"kind": "combine", "labels": ["weak", "said[0]", "said[1]"], "last": "said[1]"},
    }


def test_members_of_one_model_are_counted_apart_from_those_of_another() -> None:
    stages = {"weak": {"foreach": "ensemble", "kind": "finetune", "member": "{member}"}}
    written = stages_of(Recorded(config_with(stages, ensemble=[{"name": "a"}, {"name": "b"}, {"name": "a"}])))
    assert [fields["member"] for fields in written.values()] == [0, 0, 1]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"a": {"foreach": "ladder", "kind": "label"}}, "needs ladder="),
        ({"a": {"foreach": "lader", "kind": "label"}}, 'Did you mean "ladder"'),
        ({"a": {"kind": "combine", "labels": "b[*]"}}, "no loop of this method"),
        ({"a": {"rows": "test"}}, "has no kind"),
    ],
)
def test_a_wrong_loop_says_what_is_wrong(stages: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stages_of(Recorded(config_with(stages)))


def test_early_stopping_gives_students_weak_validation_labels_and_the_others_truth() -> None:
    config = configurations("stopping=weak_labels")[0]
    written = stages_of(Recorded(config))
    assert written["student"]["validation_labels"] == "labels@strong_val"
    assert written["labels@strong_val"] == {"kind": "label", "model": "weak", "rows": "strong_val"}
    assert "validation_labels" not in written["ceiling"]
    assert written["weak"]["validation_rows"] == "weak_val"
    diagnostic = stages_of(Recorded(configurations("stopping=ground_truth")[0]))
    assert "validation_labels" not in diagnostic["student"]


def test_a_control_stands_between_every_student_and_its_labels() -> None:
    written = stages_of(Recorded(configurations("control=random_labels", "method=strong_to_strong")[0]))
    assert written["student"]["labels"] == "random_labels:labels"
    assert written["round[0]"]["labels"] == "random_labels:round_labels[0]"
    assert written["random_labels:labels"]["labels"] == "labels"
    assert "labels" not in written["ceiling"] or written["ceiling"]["labels"] == "truth"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_of_a_launcher_of_hydra_ends_with_the_code_of_its_jobs(
    launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["w2s"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    words = ["-m", f"hydra/launcher={launcher}", "seed=0,1"]
    try:
        for second, expected in ((0, 0), (2, 2)):
            assert compose.run(words, lambda jobs, _, code=second: code * jobs[0].values["seed"]) == expected  # type: ignore[misc]
            clear_hydra()
    finally:
        clear_hydra()


@pytest.mark.parametrize("of_command", [["-m", "weak.lr=0.02,0.03"], ["-m", "hydra/launcher=basic"]])
def test_a_learning_rate_is_given_whether_the_command_or_only_its_job_has_the_word(of_command: list[str]) -> None:
    """A sweeper of Hydra adds words to a job that the command line does not have."""
    compose.run(["seed=0"], lambda jobs, folders: 0)  # gives Hydra the defaults
    (job,) = compose.composed(parse(["weak.lr=0.02"]))
    (composed,) = compose.of_seeds(job, parse(of_command))
    assert composed.values["weak"]["lr_source"] == "given"
    assert composed.values["strong"]["lr_source"] != "given"
