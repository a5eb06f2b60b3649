"""What of the training's settings reaches a stage: one rule for learning rates in every mode, adapters, and heads of label tokens."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import sentences, write_jsonl
from tests.unit.pipeline.test_identity import graph_of
from w2s_cli.config.trainings import Optimization
from w2s_cli.errors import UserError
from w2s_cli.stages._optimization import OPTIMIZATION


@pytest.fixture
def fixed(tmp_path: Path) -> list[str]:
    """A run of two causal models that nobody opens."""
    for name in ("weak", "strong"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "gpt2"}')
        (tmp_path / name / "tokenizer.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    data = write_jsonl(tmp_path / "rows.jsonl", sentences(10))
    models = [word for role in ("weak", "strong") for word in (f"{role}=local", f"{role}.path={tmp_path / role}")]
    return [*models, "data=local", f"data.path={data}", "data.text=text", "data.label=label", "data.classes=[a,b]"]


def trained(folder: Path, *words: str) -> dict[str, dict[str, Any]]:
    """Stage name → params of the planned trainings."""
    stages = graph_of(folder, *words).stages.values()
    return {stage.name: stage.identity["params"] for stage in stages if stage.kind == "finetune"}


def rates(folder: Path, *words: str) -> tuple[float, float, float]:
    """The learning rates of weak supervisor, student and ceiling."""
    found = trained(folder, *words)
    return found["weak"]["lr"], found["student"]["lr"], found["ceiling"]["lr"]


MODES = {"finetune": 1e-5, "lora": 2e-4, "probe": 1e-2}  # the default of the mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("words", "weak", "student", "ceiling"),
    [
        ([], None, None, None),
        (["strong.lr=3e-3"], None, 3e-3, 3e-3),
        (["weak.lr=2e-3", "strong.lr=3e-3"], 2e-3, 3e-3, 3e-3),
        (["train.lr=5e-3"], 5e-3, 5e-3, 5e-3),
        (["train.lr=5e-3", "strong.lr=3e-3"], 5e-3, 3e-3, 3e-3),
        (["strong.lr=3e-3", "student.lr=4e-3"], None, 4e-3, 3e-3),
        (["train.lr=5e-3", "ceiling.lr=6e-3"], 5e-3, 5e-3, 6e-3),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_a_learning_rate_is_said_in_one_way_in_every_mode(
    fixed: list[str],
    tmp_path: Path,
    mode: str,
    words: list[str],
    weak: float | None,
    student: float | None,
    ceiling: float | None,
) -> None:
    expected = tuple(MODES[mode] if rate is None else rate for rate in (weak, student, ceiling))
    assert rates(tmp_path, *fixed, f"train={mode}", *words) == expected


def test_the_fields_of_the_optimizer_are_those_of_the_configuration() -> None:
    assert tuple(field.name for field in dataclasses.fields(Optimization)) == OPTIMIZATION


def test_a_swept_rate_of_a_model_acts_in_every_mode_too(fixed: list[str], tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "-m", *fixed, "train=lora", "strong.lr=1e-3,2e-3")
    found = [graph.stages[job.names["student"]].identity["params"]["lr"] for job in graph.jobs]
    assert found == [1e-3, 2e-3]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ([], 1e-5),
        (["strong.lr=3e-5"], 3e-5),
        (["tune.lr=2e-5"], 2e-5),
        (["tune.lr=2e-5", "strong.lr=1e-4"], 1e-4),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_generative_finetuning_takes_a_rate_for_all_weights_in_every_mode(
    fixed: list[str], tmp_path: Path, mode: str, words: list[str], rate: float
) -> None:
    graph = graph_of(tmp_path, *fixed, "method=generative_finetuning", f"train={mode}", *words)
    assert [stage.identity["params"]["lr"] for stage in graph.stages.values() if stage.kind == "tune"] == [rate]


def test_the_rate_of_a_models_yaml_is_one_of_full_finetuning(fixed: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    text = tmp_path / "mine" / "model" / "own.yaml"
    text.write_text(f"name: own\npath: {tmp_path / 'strong'}\nlr: 7e-5\n")
    words = ["--config-dir", str(tmp_path / "mine"), *(w for w in fixed if not w.startswith("strong")), "strong=own"]
    assert rates(tmp_path, *words)[1] == 7e-5
    assert rates(tmp_path, *words, "train=lora")[1] == 2e-4


def test_a_stages_own_rate_in_a_method_is_not_the_models(fixed: list[str], tmp_path: Path) -> None:
    found = trained(tmp_path, *fixed, "method=probing", "strong.lr=3e-3")
    assert found["student"]["lr"] == 3e-3
    assert {found[name]["lr"] for name in ("probe_weak", "probe_truth", "probe_after")} == {1e-2}


def test_a_rate_that_no_training_takes_is_refused(w2s_inside: Any, fixed: list[str]) -> None:
    given = ["weak.lr=1e-3", "strong.lr=1e-3"]
    said = w2s_inside("plan", *fixed, *given, "train.lr=5e-3", code=2).stderr
    assert "train.lr=5e-3 has no effect" in said
    w2s_inside("plan", *fixed, "train=probe", *given)


def test_a_plan_calls_no_given_rate_a_guess(w2s_inside: Any, fixed: list[str]) -> None:
    assert "lr 1e-05 (a guess)" in w2s_inside("plan", *fixed).stdout
    assert "(a guess)" not in w2s_inside("plan", *fixed, "weak.lr=1e-3", "strong.lr=1e-3").stdout


@pytest.mark.slow
def test_all_settings_of_adapters_are_in_the_key_of_trainings_with_adapters_only(
    fixed: list[str], tmp_path: Path
) -> None:
    default = {"targets": "all-linear", "r": 8, "alpha": 16, "rslora": False, "dropout": 0.0}
    plain = graph_of(tmp_path, *fixed, "train=lora")
    assert trained(tmp_path, *fixed, "train=lora")["student"]["lora"] == default
    assert trained(tmp_path, *fixed)["student"]["lora"] is None
    for word in ("targets=[c_attn]", "rank=4", "base=nf4", "alpha=8", "rslora=true", "dropout=0.1"):
        other = graph_of(tmp_path, *fixed, "train=lora", f"train.lora.{word}")
        assert not {plain.jobs[0].names[n] for n in ("weak", "student")} & set(other.jobs[0].names.values()), word


def test_the_micro_batch_is_in_the_key_where_dropout_draws_by_it(fixed: list[str], tmp_path: Path) -> None:
    def keys(*words: str) -> str:
        return graph_of(tmp_path, *fixed, "train=lora", *words).jobs[0].names["student"]

    assert keys() == keys("launcher.micro_tokens=64")
    assert keys("train.lora.dropout=0.1") != keys("train.lora.dropout=0.1", "launcher.micro_tokens=64")


def test_settings_of_adapters_have_no_effect_without_adapters(w2s_inside: Any, fixed: list[str]) -> None:
    for word in ("train.lora.rank=4", "train.lora.targets=[q_proj]"):
        said = w2s_inside("plan", *fixed, word, code=2).stderr
        assert f"{word} has no effect" in said
        assert "use it with train=lora" in said
    assert 'unknown field "train.lora_r"' in w2s_inside("plan", *fixed, "train.lora_r=4", code=2).stderr


TOKENS = ["train=token_head", "train.head.tokens=[n,y]"]
NEXT = [*TOKENS, "train.head.frozen=true", "train.head.next_token=true"]


def test_options_of_a_head_that_are_off_leave_the_key_of_before(fixed: list[str], tmp_path: Path) -> None:
    assert trained(tmp_path, *fixed, *TOKENS)["student"]["head"] == {"tokens": ["n", "y"], "suffix": "\nAnswer:"}
    found = trained(tmp_path, *fixed, *NEXT, "train.labels=hard")["student"]["head"]
    assert (found["frozen"], found["next_token"]) == (True, True)


def test_an_escape_in_double_quotes_reaches_the_stage_as_a_new_line(fixed: list[str], tmp_path: Path) -> None:
    found = trained(tmp_path, *fixed, *TOKENS, r'train.head.suffix="\nLabel:"')
    assert {params["head"]["suffix"] for params in found.values()} == {"\nLabel:"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.head.frozen=false", "train.labels=hard"], r"set train\.head\.frozen=true"),
        ([], r'stage "student": .* the labels are soft: set train\.labels=hard'),
        (["train.labels=hard", "loss=logconf"], "loss=logconf: use loss=xent"),
        (["train.labels=hard", "method=ensemw2s"], "has no weights of rows"),
    ],
)
def test_a_next_token_loss_that_has_no_meaning_is_refused(
    fixed: list[str], tmp_path: Path, words: list[str], message: str
) -> None:
    given = [word for word in NEXT if word.partition("=")[0] not in {w.partition("=")[0] for w in words}]
    with pytest.raises(UserError, match=message):
        trained(tmp_path, *fixed, *given, *words)


def test_a_frozen_head_needs_label_tokens(w2s_inside: Any, fixed: list[str]) -> None:
    said = w2s_inside("plan", *fixed, "train.head.frozen=true", code=2).stderr
    assert "train.head.frozen=true has no effect" in said
    assert "use it with train=token_head" in said
