"""Models that read a row in another way beside other rows: their rows go through one by one, so no micro-batch changes a result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tiny_models import AFTER_PAD, make_model
from tests.unit.stages.test_own_texts import params as own_texts
from tests.unit.training.test_models import context, labelled, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import features, few_shot, finetune, label, tune
from w2s_cli.training.batching import ALONE
from w2s_cli.training.models import forward_pass
from w2s_cli.training.models.classifier import open_base
from w2s_cli.training.models.trunk import usable_positions
from w2s_cli.training.tokens import TokenRows, context_limit, encode, open_tokenizer

CPU = torch.device("cpu")
LENGTHS = [1, 3, 5, 7, 9, 12, 15, 20, 30, 40, 44, 46]  # on both sides of the 16 tokens where this Phi-3 switches
TEXTS = ["".join(chr(97 + (row * 7 + at) % 26) for at in range(length)) for row, length in enumerate(LENGTHS)]
LABELS = [0, 1] * 6


def trained_on(folder: Path, base: Path, **execution: Any) -> dict[str, torch.Tensor]:
    ctx = context(folder, model_path=str(base), **execution)
    finetune.run(params(epochs=1.0), {"rows": write_rows(folder / "rows", TEXTS, LABELS)}, ctx)
    return load_file(ctx.result / "model" / "model.safetensors")


@pytest.mark.parametrize("family", ["fnet", "phi3"])
def test_no_budget_of_tokens_changes_a_prediction_or_a_training(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    weights = [trained_on(tmp_path / f"m{budget}", base, micro_tokens=budget) for budget in (32, 32768)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-4, rtol=0)  # Adam makes rounding a step
    p = []
    for budget in (128, 32768):
        ctx = context(tmp_path / f"l{budget}", eval_tokens=budget)
        edges: Any = {"rows": tmp_path / "m32" / "rows", "model": tmp_path / "m32" / "result"}
        label.run(params(shard_rows=4096), edges, ctx)
        p.append(labelled(tmp_path / f"l{budget}", "p"))
    np.testing.assert_allclose(p[0], p[1], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "alone"), [("fnet", True), ("phi3", True), ("bert", False), ("gpt2", False), ("mistral", False)]
)
def test_a_trial_finds_them(tmp_path: Path, family: str, alone: bool) -> None:
    base = make_model(tmp_path, family)
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    model = open_base(base, tokenizer, ["a", "b"], 0, CPU, {}, 48)
    tokens = encode(tokenizer, TEXTS, 48)
    assert (forward_pass.layout_for(model, tokens, "fp32") == ALONE) == alone
    short = encode(tokenizer, TEXTS[:5], 48)
    assert (forward_pass.layout_for(model, short, "fp32") == ALONE) == (
        family == "fnet"
    )  # Phi-3 switches at longer rows only
    pairs = TokenRows(tokens.ids, 2 * tokens.lengths, 0, tokens.ids[::-1])
    layout = forward_pass.layout_for(model, pairs, "fp32")
    with torch.inference_mode():
        outputs = forward_pass.on_rows(model, pairs, range(12), layout, "fp32", forward_pass.logits)
        one = forward_pass.on_rows(model, pairs, [3], ALONE, "fp32", forward_pass.logits)
    torch.testing.assert_close(outputs[3:4], one, atol=1e-5, rtol=0)


def test_the_features_and_the_prompts_of_such_a_model_do_not_depend_on_the_budget(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "phi3")
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    examples = write_rows(tmp_path / "examples", ["ab", "cd"], [0, 1])
    shot = {"shots": 2, "tokens": ["n", "y"], "suffix": "?", "separator": ".", "shard_rows": 4096}
    found: dict[str, list[np.ndarray]] = {"features": [], "few_shot": []}
    for budget in (16, 32768):
        ctx = context(tmp_path / f"features{budget}", model_path=str(base), eval_tokens=budget)
        features.run(params(), {"rows": rows}, ctx)
        found["features"].append(load_file(ctx.result / "features.safetensors")["features"].numpy())
        ctx = context(tmp_path / f"shots{budget}", model_path=str(base), eval_tokens=budget)
        few_shot.run(params(**shot), {"rows": rows, "examples": examples}, ctx)
        found["few_shot"].append(labelled(tmp_path / f"shots{budget}"))
    for one, other in found.values():
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_next_token_training_of_such_a_model_does_not_depend_on_the_budget(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "phi3"), write_rows(tmp_path / "rows", TEXTS, LABELS)
    said = []
    for budget in (16, 32768):
        ctx = context(tmp_path / f"{budget}", model_path=str(base), micro_tokens=budget, eval_tokens=budget)
        said.append(tune.run(own_texts(batch_size=12, epochs=1.0), {"rows": rows}, ctx))
    assert said[0]["final_loss"] == pytest.approx(said[1]["final_loss"], abs=1e-5)


@pytest.mark.parametrize("family", ["ctrl", "modernbert-decoder"])
def test_heads_that_find_the_last_token_by_the_pad_id_read_it(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    trained_on(tmp_path / "trained", base)
    folder = tmp_path / "trained" / "result" / "model"
    edges: Any = {"rows": tmp_path / "trained" / "rows", "model": folder.parent}
    label.run(params(shard_rows=4096), edges, context(tmp_path / "labels", eval_tokens=32768))
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    expected = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            expected.append(model(ids, attention_mask=torch.ones_like(ids)).logits[0].numpy())
    np.testing.assert_allclose(labelled(tmp_path / "labels"), np.array(expected), atol=1e-5)


@pytest.mark.parametrize("family", AFTER_PAD)
def test_positions_that_start_after_the_pad_id_are_not_used_up(tmp_path: Path, family: str) -> None:
    base = make_model(tmp_path / "base", family)
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    model = open_base(base, tokenizer, ["a", "b"], 0, CPU, {}, 1024)
    assert usable_positions(model) == 62
    assert context_limit(usable_positions(model), tokenizer, 1024) == 62  # 64 positions − 1 pad id − 1
    rows = write_rows(tmp_path / "rows", ["a b " * 40, "c", "d e", "f"], [0, 1, 0, 1])
    trained = context(tmp_path / "trained", model_path=str(base))
    metrics = finetune.run(params(max_length=1024, epochs=1.0), {"rows": rows}, trained)
    assert metrics["truncated"]["rows"] == 1


def test_a_row_above_the_positions_of_a_model_is_an_error_in_words(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "gpt2")
    model = open_base(base, open_tokenizer(base, "left", trust_remote_code=False), ["a", "b"], 0, CPU, {}, 48)
    for rows in ([70, 9], [70, 70], [70]):
        with pytest.raises(UserError, match=r"gpt2 cannot read a row of 70 tokens.* lower max_length"):
            forward_pass.depends_on_others(model, [np.full(length, 7) for length in rows], "fp32")


@pytest.mark.parametrize(("fitting", "alone"), [(4, True), (2, True), (1, False)])
def test_the_trial_takes_fewer_rows_where_four_do_not_fit_the_memory(tmp_path: Path, fitting: int, alone: bool) -> None:
    base = make_model(tmp_path, "fnet")
    tokenizer = open_tokenizer(base, "left", trust_remote_code=False)
    model = open_base(base, tokenizer, ["a", "b"], 0, CPU, {}, 48)

    def read(model: Any, ids: torch.Tensor, mask: torch.Tensor, precision: str) -> torch.Tensor:
        if len(ids) > fitting:
            raise MemoryError
        return forward_pass.logits(model, ids, mask, precision)

    assert forward_pass.depends_on_others(model, encode(tokenizer, TEXTS, 48).ids, "fp32", read) == alone


def test_the_log_says_that_rows_go_through_one_by_one(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "fnet")
    trained_on(tmp_path / "m", base)
    assert "one by one" in (tmp_path / "m" / "log.txt").read_text()
    assert json.loads((tmp_path / "m" / "result" / "model" / "config.json").read_text())["model_type"] == "fnet"
