"""Every field's type, range and allowed values are refused when a run is planned, all of them in one message."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from w2s_cli.config.compose import composed, finished
from w2s_cli.config.declared import class_of, declared_fields
from w2s_cli.config.words import parse
from w2s_cli.errors import UserError

CHOICES = {
    "pretrain.schedule": "cosine, linear, constant",
    "pretrain.optimizer": "adam, adamw",
    "pretrain.precision": "fp32, tf32, bf16",
    "pretrain.sequence": "entries, packed",
    "pretrain.save_dtype": "fp32, bf16",
    "train.mode": "full, lora, probe",
    "train.schedule": "cosine, linear, constant",
    "train.optimizer": "adam, adamw",
    "train.labels": "soft, hard, sharpened",
    "labels.source": "weak, file",
    "stopping.by": "weak, truth",
    "stopping.metric": "accuracy, auroc",
    "tune.mode": "full, lora",
    "tune.schedule": "cosine, linear, constant",
    "preference.optimizer": "adam, adamw",
    "data.truncation": "left, right",
    **{f"{role}.precision": "fp32, tf32, bf16" for role in ("weak", "strong", "student", "ceiling", "hop")},
    "pairs": "all, upper, strict",
}
OF_A_MODEL = ("batch_size", "epochs", "lr", "max_length")
POSITIVE = [
    *(f"{role}.{name}" for role in ("weak", "strong", "student", "ceiling", "hop", "pretrain") for name in OF_A_MODEL),
    *(f"{role}.parameters" for role in ("weak", "strong")),
    *(
        "train.lr",
        "train.epochs",
        "train.sharpening",
        "train.lora.rank",
        "train.lora.alpha",
        "stopping.every",
        "stopping.patience",
    ),
    *("tune.lr", "tune.epochs", "preference.lr_scale", "few_shot.shots", "bootstrap"),
    *("launcher.micro_tokens", "launcher.eval_tokens"),
    *("launcher.log_every", "pretrain.batch_entries", "pretrain.batch_tokens"),
]
POSITIVE.remove("pretrain.batch_size")  # batch_entries or batch_tokens
SEEDS = [
    "seed",
    "data.seed",
    "data.test_seed",
    "weak.seed",
    "strong.seed",
    "student.seed",
    "ceiling.seed",
    "hop.seed",
    "pretrain.seed",
]


def cases() -> Iterator[tuple[str, Any, str]]:
    """(field, value, words of the message)."""
    for name, listed in CHOICES.items():
        yield name, "nosuch", f"must be one of {listed}"
        yield name, 3, f"must be one of {listed}"
    for name in POSITIVE:
        for value in (0, -1, True, "many"):
            yield name, value, "must be a (whole )?number greater than 0"
    for name in SEEDS:
        for value in (-1, 2**32, 1.5, True):
            yield name, value, r"must be a whole number between 0 and 2\^32 - 1"
    for name in ("train.warmup", "tune.warmup", "pretrain.warmup", "combine.abstain_below", "train.lora.dropout"):
        for value in (-0.1, 1):
            yield name, value, "must be a number of at least 0 and below 1"
    for value in (0, 1001, -3):
        yield "seeds", value, "must be a whole number between 1 and 1000"
    for value in (0, 1):
        yield "confidence", value, "must be a number greater than 0 and below 1"
    for value in (0, 101, True, "many", []):
        yield "ensemble", value, "must be a number of weak supervisors"
    for pool in ("test", "weak_train", "weak_val", "strong_train", "strong_val"):
        yield f"data.limits.{pool}", 0, "must be a whole number greater than 0, or null"
        yield f"data.pools.{pool}", -0.1, "must be a number between 0 and 1"
    yield "data.limits.tset", 3, 'unknown field "data.limits.tset".*Did you mean "test"'
    yield "data.pools.tset", 0.1, 'unknown field "data.pools.tset".*Did you mean "test"'
    yield "data.splits.validation", "dev", 'unknown field "data.splits.validation".*Known: test, train'
    yield "stopping.roles", ["weak", "teacher"], r"stopping\.roles\[1\]=teacher: must be one of weak, student, ceiling"
    yield "student", "gpt2", "must be a group of fields"
    yield "strong.lr", float("inf"), "must be a finite number"
    for value in (0, -1, True, "many", 1.5):
        yield "rounds", value, "must be a whole number between 1 and 100"
        for name in ("launcher.jobs", "launcher.threads"):
            yield name, value, "must be a whole number between 1 and 1024"
    yield "launcher.threads", 1_000_000, "between 1 and 1024"
    yield "rounds", 100_000, "between 1 and 100"
    for value in ("gpu", "cuda:x", "CPU"):
        yield "launcher.device", value, "must be auto, cpu, cuda, cuda:1 or mps"
    yield "combine.prior", [0.9, float("nan")], "must be a finite number between 0 and 1"
    yield "combine.prior", [1.5, 0], "must be a number between 0 and 1"
    yield "launcher.checkpoint_seconds", float("nan"), "must be a finite number"
    yield "train.betas", [0.9, "x"], r"train\.betas\[1\]=x: must be a number"
    for name in ("train", "tune", "preference", "pretrain"):  # a bound of 0 trains nothing, one below 0 climbs the loss
        for value in (0, -1):
            yield f"{name}.max_grad_norm", value, "must be a number greater than 0, or null"
        yield f"{name}.weight_decay", -0.1, "must be a number of at least 0"
        for betas in ([0.9], [0.9, 0.99, 0.999]):
            yield f"{name}.betas", betas, "must be two numbers, β₁ and β₂"
        yield f"{name}.betas", [0.9, 1], rf"{name}\.betas\[1\]=1: must be a number of at least 0 and below 1"
    for targets in ("q_proj", []):
        yield "train.lora.targets", targets, r"must be all-linear or a list of names, \[q_proj,v_proj\]"
    yield "launcher.checkpoint_seconds", -1, "must be a number of at least 0"
    yield "pretrain.validation_share", 1, "must be a number of at least 0 and below 1"
    yield "train.head", {"tokens": " no"}, r"train\.head\.tokens= no: must be a list"


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    """One configuration as Hydra composes it, with a recipe of w2s pretrain."""
    from hydra.core.config_store import ConfigStore

    from w2s_cli.config.schema import defaults

    ConfigStore.instance().store(name="schema", node=defaults())
    return composed(parse(["pretrain=wordnet-s"]))[0].values


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The configuration with other values at dotted names."""
    made = copy.deepcopy(config)
    for name, value in changes.items():
        *above, last = name.split(".")
        inside = made
        for part in above:
            inside = inside[part]
        inside[last] = value
    return made


def refused(config: dict[str, Any], **changes: Any) -> str:
    """The message of the refusal."""
    with pytest.raises(UserError) as error:
        finished(changed(config, changes), [], parse([]))
    return str(error.value)


@pytest.mark.parametrize(("name", "value", "words"), list(cases()))
def test_a_value_without_meaning_is_refused(composition: dict[str, Any], name: str, value: Any, words: str) -> None:
    message = refused(composition, **{name: value})
    assert name in message
    assert re.search(words, message), message
    assert len(message.splitlines()) == 1


def test_all_wrong_fields_are_in_one_message(composition: dict[str, Any]) -> None:
    message = refused(composition, **{"strong.lr": -1, "train.warmup": 2, "seed": "x"})
    assert [line.partition("=")[0] for line in message.splitlines()] == ["strong.lr", "train.warmup", "seed"]


@pytest.mark.parametrize(
    ("name", "value", "made"),
    [
        ("strong.lr", 1, 1.0),
        ("strong.lr", "1e-5", 1e-5),
        ("train.betas", [0, 0.5], [0.0, 0.5]),
        ("train.max_grad_norm", None, None),
        ("student.epochs", None, None),
        ("data.revision", 2024, "2024"),
        ("data.classes", [0, 1], ["0", "1"]),
        ("keep_weights", "no", False),
        ("seeds", "3", 3),
        ("ensemble", 4, 4),
    ],
)
def test_a_value_becomes_one_of_its_fields_type(composition: dict[str, Any], name: str, value: Any, made: Any) -> None:
    found: Any = finished(changed(composition, {name: value}), [], parse([]))
    for part in name.split("."):
        found = found[part]
    assert (found, type(found)) == (made, type(made))


def test_references_repeat_converted_values(composition: dict[str, Any]) -> None:
    words = {
        "strong.lr": 1,
        "student.lr": "${strong.lr}",
        "weak.name": "a-${data.name}",
        "weak.lr": "${train.sharpening}",
    }
    made = finished(changed(composition, words), [], parse([]))
    assert made["method"]["stages"]["student"]["model"] == made["strong"]
    assert (made["student"]["lr"], made["weak"]["lr"], made["weak"]["name"]) == (1.0, 0.5, f"a-{made['data']['name']}")


def test_no_two_parts_of_a_configuration_are_the_same_object(composition: dict[str, Any]) -> None:
    """YAML would write the second one as a reference to the first."""
    made = finished(composition, [], parse([]))
    assert made["method"]["stages"]["student"]["model"] is not made["strong"]
    assert made["method"]["stages"]["student"]["model"] is not made["method"]["stages"]["ceiling"]["model"]


def test_the_recipe_that_nobody_chose_is_none(composition: dict[str, Any]) -> None:
    assert finished(composition, [], parse([]))["pretrain"]["validation_share"] == 0.0
    assert finished(changed(composition, {"pretrain.name": "???"}), [], parse([]))["pretrain"] is None


def test_declared_fields_are_those_of_groups_too() -> None:
    names = set(declared_fields())
    assert {"seed", "strong", "strong.lr", "data.limits.test", "pretrain.epochs", "train.head.tokens"} <= names
    assert class_of("train.head") is not None
    assert class_of("strong.lr") is class_of("loss.args") is class_of("no.such") is None
