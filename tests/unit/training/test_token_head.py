"""Label as token: the head before training is the language model, the suffix is never cut, and labelling asks as training did."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny_models import config_value, make_model
from tests.unit.training.test_models import LABELS, TEXTS, context, labelled, params, whole, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import finetune, label
from w2s_cli.training.models import classifier, language_model, token_head
from w2s_cli.training.prompting import encode_with_suffix
from w2s_cli.training.tokens import open_tokenizer

HEAD = {"tokens": ["n", "y"], "suffix": "\nA:"}
CAUSAL = ("gpt2", "qwen2", "llama", "opt", "gpt_neox")


@pytest.mark.parametrize("family", CAUSAL)
def test_before_training_the_logits_are_the_language_models_for_the_label_tokens(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family, initializer_range=0.3)
    rows = write_rows(tmp_path / "rows")
    trained = context(tmp_path / "trained", model_path=str(base))
    finetune.run(params(head=HEAD, lr=0.0, labels="hard"), {"rows": rows}, trained)  # a rate of 0: nothing is learned
    label.run(params(), {"rows": rows, "model": trained.result}, context(tmp_path / "labels"))
    found = labelled(tmp_path / "labels")

    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    tokenizer.truncation_side = "left"
    suffix = tokenizer("\nA:", add_special_tokens=False)["input_ids"]
    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in HEAD["tokens"]]
    expected = []
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=48 - len(suffix))["input_ids"] + suffix
        with torch.no_grad():
            expected.append(model(torch.tensor([ids])).logits[0, -1, words].numpy())
    np.testing.assert_allclose(found, np.array(expected), atol=2e-4)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_trained_one_is_a_plain_classifier_that_remembers_its_suffix(tmp_path: Path, mode: str) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows")
    trained = context(tmp_path / "trained", model_path=str(base))
    finetune.run(params(head=HEAD, mode=mode), {"rows": rows}, trained)
    label.run(params(), {"rows": rows, "model": trained.result}, context(tmp_path / "labels", base_path=str(base)))
    folder = whole(trained)
    assert config_value(folder, "w2s_suffix") == "\nA:"
    assert config_value(folder, "w2s_tokens") == ["n", "y"]
    assert "must be followed by '\\nA:'" in (folder / "README.md").read_text()
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        said = model(**tokenizer(TEXTS[1] + "\nA:", return_tensors="pt")).logits[0].numpy()
    np.testing.assert_allclose(labelled(tmp_path / "labels")[1], said, atol=1e-4)
    again = context(tmp_path / "again", model_path=str(folder))  # a linear head on top asks nothing any more
    finetune.run(params(), {"rows": rows}, again)
    assert "w2s_suffix" not in (again.result / "model" / "config.json").read_text()


@pytest.mark.parametrize("side", ["left", "right"])
def test_only_the_text_is_cut(tmp_path: Path, side: str) -> None:
    tokenizer = open_tokenizer(make_model(tmp_path / "base", "llama"), side, trust_remote_code=False)
    found = encode_with_suffix(tokenizer, ["abcdefgh", "ab", ""], "\nA:", 7)
    said = [tokenizer.decode(ids) for ids in found.ids]
    assert said == ["efgh\nA:" if side == "left" else "abcd\nA:", "ab\nA:", "\nA:"]
    assert (found.truncated, found.lengths.tolist()) == (1, [7, 5, 3])
    with pytest.raises(UserError, match=r"takes 3 tokens .* may have 2"):
        encode_with_suffix(tokenizer, ["a"], "\nA:", 2)


def test_special_tokens_stay_in_front_and_none_comes_after_the_suffix(tmp_path: Path) -> None:
    from tokenizers import processors

    tokenizer = open_tokenizer(make_model(tmp_path / "base", "llama"), "left", trust_remote_code=False)
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    (ids,) = encode_with_suffix(tokenizer, ["abcdefgh"], "?", 5).ids
    assert ids[0] == end
    assert tokenizer.decode(ids[1:]) == "fgh?"
    (ids,) = encode_with_suffix(tokenizer, ["ab"], "?", 5, special=False).ids
    assert tokenizer.decode(ids) == "ab?"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head": {"tokens": ["no", "y"], "suffix": "?"}}, r'label token "no" must be one token .* it is 2'),
        ({"head": {"tokens": ["y", "y"], "suffix": "?"}}, "the same token"),
        ({"head": {"tokens": ["y"], "suffix": "?"}}, "1 label tokens, but there are 2 classes"),
        ({"head": {"tokens": [], "suffix": "?"}}, "needs tokens"),
        ({"head": {"token": ["n", "y"]}}, r"train.head.token is unknown. Did you mean"),
        ({"head": HEAD, "mode": "probe"}, "mode=full or lora"),
        ({"head": {**HEAD, "suffix": "x" * 60}}, "shorten the suffix"),
    ],
)
def test_what_cannot_be_a_token_head_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows")
    with pytest.raises(UserError, match=message):
        finetune.run(params(**changed), {"rows": rows}, context(tmp_path / "trained", model_path=str(base)))


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_encoders_have_no_label_tokens(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    with pytest.raises(UserError, match=r"not a causal language model"):
        finetune.run(params(head=HEAD), {"rows": rows}, context(tmp_path / "trained", model_path=str(base)))


def test_pairs_have_no_label_tokens() -> None:
    with pytest.raises(UserError, match="pairs"):
        token_head.check(HEAD, "full", pairs=True)
    token_head.check(None, "probe", pairs=True)


def test_an_architecture_that_caps_its_logits_is_refused(tmp_path: Path) -> None:
    model = language_model.open_language_model(make_model(tmp_path / "base", "llama"), torch.device("cpu"), {}, 48)
    assert language_model.label_rows(model, [3, 7]).shape == (2, 32)
    forward = model.forward

    def scaled(*args: Any, **options: Any) -> Any:
        found = forward(*args, **options)
        found.logits = found.logits / 16 + 1
        return found

    model.forward = scaled
    with pytest.raises(UserError, match="changes its logits"):
        language_model.label_rows(model, [3, 7])


def test_the_random_head_of_other_models_is_as_before(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    model = classifier.open_base(base, tokenizer, ["a", "b"], 0, torch.device("cpu"), {}, 48)
    assert not model.score.weight.any()
