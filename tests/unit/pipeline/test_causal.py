"""What needs a causal language model refuses another one while it is planned, and the stage gives the same answer."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from tests.command.test_hub import online
from tests.command.test_startup import loaded
from tests.command.test_wrong_commands import assert_refused
from tests.conftest import ROOT
from tests.tiny_hub import COMMIT, tiny_hub
from tests.tiny_models import ENCODERS, FAMILIES, make_model
from w2s_cli.errors import UserError
from w2s_cli.training.models.architectures import encoder, has_next_token, tables
from w2s_cli.training.models.language_model import open_language_model

Run = Callable[..., subprocess.CompletedProcess[str]]

NEEDS = {  # words → the stage that is the first to need it, and whose model that is
    "method=few_shot": ("student_test", "strong"),
    "method=probing": ("probe_weak", "strong"),
    "method=generative_finetuning": ("tuned", "strong"),
    "method=selection select=knn_filter": ("selected", "strong"),
    "train=token_head": ("weak", "weak"),
    "train=probe": ("weak", "weak"),
    "method=bootstrapping train=token_head ladder=[tiny]": ("hop[0]", "ladder"),
}


def own_models(tmp_path: Path, family: str) -> list[str]:
    """--config-dir with a model of its own, `tiny`: one of `family`."""
    (tmp_path / "mine" / "model").mkdir(parents=True)
    yaml = (ROOT / "configs" / "model" / "local.yaml").read_text()
    yaml = yaml.replace("path: null", f"path: {tmp_path / family}").replace("name: local", "name: tiny")
    (tmp_path / "mine" / "model" / "tiny.yaml").write_text(yaml)
    make_model(tmp_path / family, family)
    return ["--config-dir", str(tmp_path / "mine")]


@pytest.mark.parametrize("words", NEEDS)
def test_an_encoder_is_refused_before_anything_runs(w2s_inside: Run, tmp_path: Path, words: str) -> None:
    stage, word = NEEDS[words]
    asked = [*own_models(tmp_path, "bert"), *([f"{word}=tiny"] if word != "ladder" else []), *words.split()]
    role = {"weak": "weak", "strong": "student", "ladder": "hop"}[word]
    for command in ("plan", "train"):
        done = w2s_inside(command, *asked, code=None)
        assert_refused(done, f'stage "{stage}" of method=', f'its {role} model "tiny" (bert) is not a causal language')
        assert "choose one like gpt2" in done.stderr
    assert not (tmp_path / "outputs" / "stages").exists()


@pytest.mark.slow
def test_a_causal_model_passes_and_nothing_heavy_is_loaded_to_know_it(w2s_inside: Run, tmp_path: Path) -> None:
    words = [*own_models(tmp_path, "llama"), "weak=tiny", "strong=tiny"]
    for asked in NEEDS:
        w2s_inside("plan", *words, *asked.split())
    assert loaded(tmp_path, "plan", *words, "method=few_shot") == (0, [], True)


def test_an_encoder_may_be_what_needs_no_next_token(w2s_inside: Run, tmp_path: Path) -> None:
    words = own_models(tmp_path, "bert")
    w2s_inside("plan", *words, "weak=tiny", "strong=tiny")
    w2s_inside("plan", *words, "weak=tiny", "method=few_shot")
    w2s_inside("plan", *words, "strong=tiny", "method=selection", "select=confidence")


def test_an_encoder_is_not_pretrained_as_a_language_model(w2s_inside: Run) -> None:
    words = ["pretrain", "pretrain=wordnet-xs"]
    said = "pretrain=wordnet-xs: architecture.model_type={} is not a causal language model"
    assert_refused(w2s_inside(*words, "pretrain.architecture.model_type=bert", code=None), said.format("bert"), "gpt2")
    done = w2s_inside(*words, "pretrain.architecture.model_type=gtp2", code=None)
    assert_refused(done, said.format("gtp2"), 'Did you mean "gpt2"')


@pytest.mark.slow
def test_of_a_hub_model_the_config_alone_is_fetched(w2s: Run, tmp_path: Path) -> None:
    words = ["plan", "strong=local", "strong.id=org/bert", "method=few_shot"]
    (tmp_path / "outputs").mkdir()  # the commit is noted in it
    with tiny_hub({"org/bert": make_model(tmp_path / "bert", "bert")}) as address:
        done = w2s(*words, code=None, **online(tmp_path, address))
    assert_refused(done, '"local" (bert) is not a causal language model')
    assert "%|" not in done.stderr
    snapshot = tmp_path / "hf" / "hub" / "models--org--bert" / "snapshots" / COMMIT
    assert [path.name for path in snapshot.iterdir()] == ["config.json"]
    cached = w2s(*words, code=None, HF_HOME=str(tmp_path / "hf"))  # and is read from the cache without a network
    assert cached.stderr == done.stderr
    (snapshot / "config.json").unlink()
    assert "few_shot" in w2s(*words, HF_HOME=str(tmp_path / "hf")).stdout  # not known: the stage will tell


@pytest.mark.slow
def test_a_hub_model_without_a_config_or_behind_terms_is_refused(w2s: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ["plan", "strong=local", "method=few_shot"]
    with tiny_hub({"org/empty": tmp_path / "empty", "org/gated": "gated"}) as address:
        environment = online(tmp_path, address)
        assert_refused(w2s(*words, "strong.id=org/empty", code=None, **environment), "org/empty has no config.json")
        assert_refused(w2s(*words, "strong.id=org/gated", code=None, **environment), "org/gated is gated")


def test_the_tables_are_those_of_transformers() -> None:
    found = tables()
    assert found is not None
    assert list(found.causal) == list(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert list(found.masked) == list(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stage_gives_the_same_answer(tmp_path: Path, family: str) -> None:
    import torch

    found, folder = tables(), make_model(tmp_path / "model", family)
    assert found is not None
    config = json.loads((folder / "config.json").read_text())
    assert has_next_token(config, found) is (family not in ENCODERS)
    assert encoder(config, found) is (family in ENCODERS)
    if has_next_token(config, found):
        open_language_model(folder, torch.device("cpu"), {}, 64)
    else:
        with pytest.raises(UserError, match="not a causal language model"):
            open_language_model(folder, torch.device("cpu"), {}, 64)


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_what_has_an_encoder_and_a_decoder_is_no_causal_model(family: str) -> None:
    found = tables()
    assert found is not None
    config = AutoConfig.for_model(family).to_dict()
    assert encoder(config, found)
    assert not has_next_token(config, found)
    assert has_next_token(
        {**config, "auto_map": {"AutoModelForCausalLM": "own.Model"}}, found
    )  # it says itself what it is
