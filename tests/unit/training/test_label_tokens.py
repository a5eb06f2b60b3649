"""The label as text: the loss of the language model itself on the label token and the end token, with the output layer as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny_models import make_model
from tests.unit.training.test_models import CPU, LABELS, TEXTS, context, params, whole, write_rows
from tests.unit.training.test_token_head import CAUSAL
from w2s_cli.errors import UserError
from w2s_cli.stages import finetune
from w2s_cli.training.models import classifier, forward_pass, token_head
from w2s_cli.training.objectives import label_tokens
from w2s_cli.training.prompting import encode_with_suffix
from w2s_cli.training.tokens import open_tokenizer

HEAD = {"tokens": ["n", "y"], "suffix": "\nA:", "frozen": True, "next_token": True}


def gradients(
    base: Path, texts: list[str], labels: list[int], micro_tokens: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of one update, and the gradient of each weight of the body."""
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    head = token_head.read(base, tokenizer, HEAD, ["no", "yes"], {})
    model = classifier.open_base(base, tokenizer, ["no", "yes"], 0, CPU, {}, 48, head).train()
    tokens = encode_with_suffix(tokenizer, texts, HEAD["suffix"], 47)
    layout = forward_pass.layout_for(model, tokens, "fp32")
    ends = tokenizer.eos_token_id, tokenizer.pad_token_id
    objective = label_tokens.objective(model, tokens, np.array(labels), head, *ends, "fp32", layout)
    loss = 0.0
    for part in objective.parts(objective.cut(range(len(texts)), micro_tokens), 0.0):
        part.backward.backward()
        loss += float(part.sums["loss"])
    return loss, {n: p.grad for n, p in model.base_model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", CAUSAL)
def test_the_loss_and_its_gradient_are_those_of_the_language_model(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family, initializer_range=0.3, tie_word_embeddings=False)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.get_output_embeddings().weight.requires_grad_(False)
    texts, labels = TEXTS[:6], LABELS[:6]
    expected = 0.0
    for text, label in zip(texts, labels, strict=True):
        ids = tokenizer(text + "\nA:" + "ny"[label])["input_ids"] + [tokenizer.eos_token_id]
        masked = torch.tensor([[-100] * (len(ids) - 2) + ids[-2:]])  # as supervised finetuning masks a prompt
        loss = model(input_ids=torch.tensor([ids]), labels=masked).loss / len(texts)
        loss.backward()
        expected += loss.item()
    weights = {n: p.grad for n, p in model.base_model.named_parameters() if p.grad is not None}
    for micro_tokens in (32, 4096):
        found, slopes = gradients(base, texts, labels, micro_tokens)
        assert found == pytest.approx(expected, rel=1e-4)
        assert set(slopes) == set(weights)
        for name, slope in slopes.items():
            known = slope[: len(weights[name])]  # without the embedding of the added pad token
            torch.testing.assert_close(known, weights[name], atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_frozen_head_keeps_the_language_models_rows_while_the_body_learns(tmp_path: Path, mode: str) -> None:
    base = make_model(tmp_path / "base", "gpt2")  # 64 positions: the label token needs one
    rows, words = write_rows(tmp_path / "rows"), AutoTokenizer.from_pretrained(base)(["n", "y"])["input_ids"]
    before = load_file(base / "model.safetensors")["wte.weight"][[ids[0] for ids in words]]
    for next_token in (False, True):
        head = {**HEAD, "next_token": next_token}
        ctx = context(tmp_path / f"trained-{next_token}", model_path=str(base))
        metrics = finetune.run(params(head=head, mode=mode, max_length=64, epochs=20.0), {"rows": rows}, ctx)
        after = load_file(whole(ctx) / "model.safetensors")
        assert torch.equal(after["score.weight"], before)
        assert metrics["train_accuracy_vs_labels"] > 0.8, "the body alone learns the labels"


def test_without_an_end_token_there_is_no_loss_on_one(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    head: Any = token_head.read(base, tokenizer, HEAD, ["no", "yes"], {})
    tokens = encode_with_suffix(tokenizer, ["a"], "?", 9)
    with pytest.raises(UserError, match=r"train\.head\.next_token=true trains on the end token"):
        label_tokens.objective(None, tokens, np.array([0]), head, None, 0, "fp32", forward_pass.PADDED)
